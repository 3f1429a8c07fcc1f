"""The operator's process: settings → client → Lease → reflectors, kopf and warm pool.

``underlay-operator --config FILE``
"""

import argparse
import asyncio
import logging as stdlib_logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path

import kopf
import structlog

from underlay.core.api.ippool import SpiderIPPool
from underlay.core.api.kubernetes import Namespace, Pod
from underlay.core.api.networkprovider import SpiderNetworkProvider
from underlay.core.api.nodenetwork import SpiderNodeNetwork
from underlay.core.cloud.planning.pressure import Pressure
from underlay.core.kube.access import access
from underlay.core.kube.client import KubeClient
from underlay.core.kube.events import Recorder
from underlay.core.kube.lease import Leader, Terms
from underlay.core.kube.reflector import Change, Removed
from underlay.core.runtime import logging
from underlay.core.runtime.aio import supervise
from underlay.core.runtime.checkpoints import Checkpoint, passing
from underlay.core.runtime.clock import Clock, RealClock
from underlay.core.runtime.config import load
from underlay.operator import handlers
from underlay.operator.collector import Collector
from underlay.operator.gate import SteppedGate
from underlay.operator.metrics import Metrics, SubnetState, exported
from underlay.operator.providers import Providers, close_all
from underlay.operator.removal import Removal
from underlay.operator.reports import Reports
from underlay.operator.reservations import Reservations
from underlay.operator.settings import Settings
from underlay.operator.views import Views
from underlay.operator.warmpool import WarmPool

# Between two looks for orphans, at least; less where the cloud's reads are said to lag less than that.
_COLLECT_SECONDS = 30.0


def main() -> None:
    """Runs until SIGTERM or SIGINT; exit code 1 when the lease was lost."""
    parser = argparse.ArgumentParser(
        prog="underlay-operator", description="Maps what nodes have at their cloud into SpiderIPPools"
    )
    parser.add_argument("--config", type=Path, help="settings file (JSON or YAML); defaults work inside a cluster")
    settings = load(Settings, parser.parse_args().config)
    logging.configure("underlay-operator", settings.log_level)
    asyncio.run(until_signal(settings))


async def until_signal(settings: Settings, *, checkpoint: Checkpoint = passing) -> None:
    """Returns after SIGTERM or SIGINT, with the lease released."""
    task = asyncio.ensure_future(run(settings, checkpoint=checkpoint))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        structlog.get_logger().info("operator.stopped")


async def run(
    settings: Settings, *, checkpoint: Checkpoint = passing, ready: Callable[[], None] = lambda: None
) -> None:
    """Waits for the lease, then leads until it is lost (``LeaseLost``) or cancelled. ``ready``: it leads."""
    metrics = Metrics()
    clock = RealClock()
    client = KubeClient.connect(settings.kubeconfig, user_agent="underlay-operator")
    # One of its own: a renewal must not wait for its turn behind calls that hang.
    renewing = KubeClient.connect(settings.kubeconfig, user_agent="underlay-operator")
    leader = Leader(
        renewing,
        clock=clock,
        namespace=settings.lease_namespace,
        name=settings.lease_name,
        identity=settings.identity or f"{socket.gethostname()}-{os.getpid()}",
        terms=Terms(
            duration_seconds=settings.lease_seconds,
            renew_seconds=settings.renew_seconds,
            retry_seconds=settings.retry_seconds,
        ),
    )
    hear = partial(_kopf, client, settings.kubeconfig)
    try:
        async with exported(metrics, settings.metrics_address):
            await leader.run(
                lambda: lead(
                    client,
                    clock=clock,
                    held=leader.held,
                    settings=settings,
                    hear=hear,
                    metrics=metrics,
                    checkpoint=checkpoint,
                    ready=ready,
                )
            )
    finally:
        await client.close()
        await renewing.close()


async def lead(
    client: KubeClient,
    *,
    clock: Clock,
    held: Callable[[], bool],
    settings: Settings,
    hear: Callable[[Providers, Removal, asyncio.Event], Coroutine[object, object, None]],
    metrics: Metrics | None = None,
    checkpoint: Checkpoint = passing,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """What the holder of the lease does, until cancelled.

    ``hear`` tells of SpiderNetworkProviders for ever, and sets the event once all that exist have been told: which
    provider serves a node depends on all of them.
    """
    metrics = metrics or Metrics()
    cluster = (await client.get(Namespace, "kube-system")).metadata.uid or ""
    recorder = Recorder(client, clock=clock, component="underlay-operator")
    reports = Reports(client=client, clock=clock, recorder=recorder, review_seconds=settings.secret_seconds)
    views = Views.of(client, clock)
    providers = Providers(
        client=client,
        clock=clock,
        cluster=cluster,
        make_gate=lambda name, changed: SteppedGate(
            clock=clock,
            lease=held,
            timeout_seconds=settings.call_seconds,
            checkpoint=checkpoint,
            changed=changed,
            observer=metrics.observer(name),
        ),
        changed=reports.changed,
        networks_of=lambda name: [item for item in views.networks.store.items() if item.spec.provider == name],
        subnet_seconds=settings.subnet_seconds,
    )
    pool = WarmPool(
        client=client,
        clock=clock,
        settings=settings,
        cluster=cluster,
        providers=providers,
        views=views,
        recorder=recorder,
        checkpoint=checkpoint,
        planned=metrics.planned,
    )
    collector = Collector(
        client=client,
        clock=clock,
        cluster=cluster,
        providers=providers,
        recorder=recorder,
        collected=metrics.collected,
        shortest_seconds=min(settings.settle_seconds, _COLLECT_SECONDS),
    )
    reservations = Reservations(clock=clock, cluster=cluster, providers=providers)
    removal = Removal(
        client=client,
        clock=clock,
        cluster=cluster,
        providers=providers,
        reservations=reservations,
        settle_seconds=settings.settle_seconds,
    )
    metrics.follow(
        levels=lambda: {provider.name: provider.gate.level for provider in providers.all()},
        demands=lambda: [
            network.status.demand
            for network in list(views.networks.store.items())
            if network.status and network.status.demand
        ],
        subnets=lambda: [
            SubnetState(provider.name, id_, subnet.free, provider.subnets.pressures.get(id_, Pressure.NORMAL))
            for provider in providers.all()
            for id_, subnet in list(provider.subnets.by_id.items())
        ],
    )
    providers.subscribe(pool.all_dirty)
    providers.subscribe(reservations.changed)
    _mark_dirty(views, pool, reports)
    heard = asyncio.Event()
    try:
        await supervise(
            **{name: view.run() for name, view in views},
            events=recorder.run(),
            reports=reports.run(providers),
            collector=collector.run(),
            reservations=reservations.run(),
            providers=hear(providers, removal, heard),
            warmpool=_when_synced(views, heard, pool, ready),
        )
    finally:
        await close_all(providers)


def _mark_dirty(views: Views, pool: WarmPool, reports: Reports) -> None:
    """Whatever concerns a node makes it dirty."""

    def pod(change: Change[Pod]) -> None:
        if change.object.spec.node_name:
            pool.dirty(change.object.spec.node_name)

    def node_pool(change: Change[SpiderIPPool]) -> None:
        for node in change.object.spec.node_name or []:
            pool.dirty(node)

    def network(change: Change[SpiderNodeNetwork]) -> None:
        if isinstance(change, Removed):
            pool.lost(change.object.metadata.name)
        # At most once a second and provider, however many nodes change.
        reports.changed(change.object.spec.provider)
        pool.dirty(change.object.metadata.name)

    views.nodes.subscribe(lambda change: pool.dirty(change.object.metadata.name))
    views.networks.subscribe(network)
    views.pods.subscribe(pod)
    views.pools.subscribe(node_pool)


async def _when_synced(views: Views, heard: asyncio.Event, pool: WarmPool, ready: Callable[[], None]) -> None:
    await heard.wait()
    for _, view in views:
        await view.synced.wait()
    structlog.get_logger().info(
        "operator.synced", nodes=len(views.nodes.store), pods=len(views.pods.store), pools=len(views.pools.store)
    )
    ready()
    await pool.run()


async def _kopf(
    client: KubeClient, kubeconfig: Path | None, providers: Providers, removal: Removal, heard: asyncio.Event
) -> None:
    """Kopf, in a thread and loop of its own: on its way out it would wait for every task it finds in ours.

    It does not say when it has told of all that exists, so these are listed first.
    """
    existing = await client.list(SpiderNetworkProvider)
    await asyncio.gather(*(providers.put(provider) for provider in existing.items))
    heard.set()
    registry = handlers.registry(providers, removal, asyncio.get_running_loop())
    # Otherwise a line for every event of every object, and an error for each look at what a removal waits for.
    objects = stdlib_logging.getLogger("kopf.objects")
    objects.setLevel(stdlib_logging.WARNING)
    objects.addFilter(lambda record: "failed temporarily" not in record.getMessage())

    @kopf.on.login(registry=registry)
    def login(**_: object) -> kopf.ConnectionInfo:
        found = access(kubeconfig)
        return kopf.ConnectionInfo(
            server=found.server,
            insecure=found.insecure,
            ca_data=found.authority,
            token=found.token,
            certificate_data=found.certificate,
            private_key_data=found.key,
        )

    stop = threading.Event()
    serve = partial(
        kopf.run,
        registry=registry,
        settings=handlers.settings(),
        clusterwide=True,
        standalone=True,
        stop_flag=stop,
    )
    try:
        await asyncio.to_thread(serve)
    finally:
        stop.set()
    raise RuntimeError("kopf ended by itself")


if __name__ == "__main__":
    main()
