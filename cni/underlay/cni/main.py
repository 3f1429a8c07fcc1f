"""The agent, wired: settings → journal → reflectors → socket → one task group. ``underlay-agent --config FILE``."""

import argparse
import asyncio
import gc
import signal
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from uuid import uuid4

import structlog

from underlay.cni.blockuse import BlockUse
from underlay.cni.book import Book
from underlay.cni.datapath.calls import NodeFacts
from underlay.cni.datapath.shell import Datapath
from underlay.cni.endpoints import Endpoints
from underlay.cni.fences import Fences
from underlay.cni.journal import Journal
from underlay.cni.kernel import Kernel
from underlay.cni.links import LinkWatch
from underlay.cni.lull import Lull
from underlay.cni.metrics import Metrics
from underlay.cni.nodepools import NodePools
from underlay.cni.pods import Pods
from underlay.cni.repair import Repair
from underlay.cni.reports import Reports
from underlay.cni.routers import RouterWatch
from underlay.cni.server import Server
from underlay.cni.settings import Settings
from underlay.cni.spool import Spool
from underlay.cni.state import State, replay
from underlay.cni.verbs import Verbs
from underlay.cni.watch import Watch
from underlay.cni.withholding import Withholding, parsed
from underlay.core.addresses import IPAddress, parse_address, parse_network
from underlay.core.errors import InvalidInput, UnderlayError
from underlay.core.identity import PodRef
from underlay.core.kube.client import KubeClient
from underlay.core.runtime.checkpoints import Checkpoint, passing
from underlay.core.runtime.clock import Clock, RealClock
from underlay.core.runtime.config import load
from underlay.core.runtime.logging import configure

_SPOOL_SECONDS = 5.0


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(prog="underlay-agent", description="Serves CNI calls on one node.")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="settings, JSON or YAML")
    arguments = parser.parse_args()
    try:
        settings = load(Settings, arguments.config)
        configure("underlay-agent", settings.log_level)
        asyncio.run(_until_told(settings))
    except* UnderlayError as wrong:
        raise SystemExit(f"underlay-agent: {_first(wrong)}") from wrong


async def run(
    settings: Settings,
    *,
    checkpoint: Checkpoint = passing,
    ready: Callable[[], None] | None = None,
    kernel: Kernel | None = None,
    clock: Clock | None = None,
) -> None:
    """Serve until cancelled. ``ready`` is called once ADDs are served. Raises ``JournalLocked`` when another agent
    does.
    """
    now = _steady(clock or RealClock())
    journal = Journal(Path(settings.state_dir), new_epoch=lambda: str(uuid4()))
    try:
        book = Book(_sane(replay(journal.open()), now()), journal)
        client = KubeClient.connect(
            Path(settings.kubeconfig) if settings.kubeconfig else None, user_agent="underlay-agent/0.1"
        )
        try:
            datapath = kernel or Datapath()
            await datapath.start()
            try:
                await _serve(settings, book, journal, client, datapath, now, checkpoint, ready)
            finally:
                await datapath.close()
        finally:
            await client.close()
    finally:
        journal.close()


async def _serve(
    settings: Settings,
    book: Book,
    journal: Journal,
    client: KubeClient,
    kernel: Kernel,
    now: Callable[[], float],
    checkpoint: Checkpoint,
    ready: Callable[[], None] | None,
) -> None:
    node_name = settings.node_name
    metrics = Metrics()
    watch = Watch(node_name=node_name, book=book, client=client)
    pools = NodePools(node_name=node_name, book=book, now=now, metrics=metrics)
    lull = Lull()
    endpoints = Endpoints(node_name=node_name, book=book, client=client, metrics=metrics, lull=lull)
    block_use = BlockUse(book=book, client=client, metrics=metrics, lull=lull)

    def touched(pod: PodRef) -> None:
        endpoints.touch(pod)
        block_use.touch(pod)

    spool = Spool(Path(settings.spool))
    spool.prepare()
    verbs = Verbs(
        book=book,
        pools=pools,
        pods=Pods(node_name=node_name, book=book, client=client),
        kernel=kernel,
        spool=spool,
        now=now,
        touched=touched,
        checkpoint=checkpoint,
    )
    server = Server(
        path=Path(settings.socket),
        verbs=verbs,
        metrics=metrics,
        lull=lull,
        add_wait_seconds=settings.add_wait_seconds,
    )
    links = LinkWatch(book=book, pools=pools, kernel=kernel)
    routers = RouterWatch(book=book, pools=pools, kernel=kernel, now=now)
    withheld = Withholding(book=book, pools=pools, kernel=kernel)
    fences = Fences(book=book, pools=pools, kernel=kernel, client=client, checkpoint=checkpoint)
    reports = Reports(
        book=book,
        pools=pools,
        unfiltered=lambda: withheld.unfiltered,
        client=client,
        seen_pools=watch.pools,
        now=now,
        metrics=metrics,
        checkpoint=checkpoint,
    )
    repair = Repair(
        book=book, watch=watch, kernel=kernel, verbs=verbs, netns_folder=Path(settings.netns_folder), now=now
    )
    stop_metrics = _expose(metrics, settings.metrics_address)
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(journal.run(book.snapshot), name="journal")
            _learn(kernel, settings, book.state)
            # Listening comes before the spool is read: a launcher either reaches us or has written its file by then.
            await server.start(tasks)
            await links.refresh()
            await withheld.refresh()
            await verbs.drain_spool()
            for name, part in {
                "watch": watch.run(),
                "links": links.run(),
                "routers": routers.run(),
                "withholding": withheld.run(),
                "fences": fences.run(),
                "pool-reports": reports.run_pools(),
                "node-report": reports.run_node(),
                "endpoints": endpoints.run(),
                "block-use": block_use.run(),
                "repair": repair.run(),
                "spool": _follow_spool(verbs),
                "node": _follow_node(kernel, settings, book),
            }.items():
                tasks.create_task(part, name=name)
            server.serve()
            structlog.get_logger().info(
                "agent.ready", node=node_name, epoch=book.state.epoch, claims=len(book.state.ledger.claims)
            )
            if ready:
                ready()
    finally:
        server.close()
        stop_metrics()


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def _until_told(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT."""
    serving = asyncio.current_task()
    loop = asyncio.get_running_loop()
    told = False

    def stop() -> None:
        nonlocal told
        told = True
        if serving is not None:
            serving.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        await run(settings, ready=_settle_memory)
    except asyncio.CancelledError:
        if not told:
            raise
        structlog.get_logger().info("agent.stopped", node=settings.node_name)


def _settle_memory() -> None:
    """What was made so far stays, and what a call makes dies young: the collector need not walk the former again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 50, 50)


async def _follow_spool(verbs: Verbs) -> None:
    """A launcher may have given up on us just before we listened."""
    while True:
        await verbs.drain_spool()
        await asyncio.sleep(_SPOOL_SECONDS)


async def _follow_node(kernel: Kernel, settings: Settings, book: Book) -> None:
    node, node_network = None, None
    while True:
        if book.state.node is not node or book.state.node_network is not node_network:
            node, node_network = book.state.node, book.state.node_network
            _learn(kernel, settings, book.state)
        await book.room.wait()


def _learn(kernel: Kernel, settings: Settings, state: State) -> None:
    spec = state.node_network.spec if state.node_network else None
    kernel.learn(
        NodeFacts(
            addresses=tuple(_parsed(state.node.addresses if state.node else ())),
            service_cidrs=tuple(parse_network(text, "serviceCIDRs") for text in settings.service_cidrs),
            hijack_cidrs=tuple(ip_network(address) for _, address in parsed(spec)) if spec else (),
        )
    )


def _parsed(addresses: Iterable[str]) -> Iterator[IPAddress]:
    """InternalIPs of the Node; anything may be written there."""
    for text in addresses:
        try:
            yield parse_address(text, "Node status.addresses")
        except InvalidInput as wrong:
            structlog.get_logger().warning("node.address_ignored", reason=str(wrong))


def _steady(clock: Clock) -> Callable[[], float]:
    """Wall time that never jumps while the agent runs: a cool-down is a duration, and its start outlives the
    process.
    """
    offset = clock.now() - clock.monotonic()
    return lambda: clock.monotonic() + offset


def _sane(state: State, now: float) -> State:
    """A clock that was set back must not let addresses cool for as long as it was wrong."""
    ledger = state.ledger
    return replace(state, ledger=replace(ledger, freed={address: min(at, now) for address, at in ledger.freed.items()}))


def _expose(metrics: Metrics, address: str) -> Callable[[], None]:
    """Metrics over HTTP at ``host:port``; empty: not at all."""
    if not address:
        return lambda: None
    from prometheus_client import start_http_server  # noqa: PLC0415 - an HTTP server only where one is wanted

    host, _, port = address.rpartition(":")
    server, thread = start_http_server(int(port), host or "0.0.0.0", registry=metrics.registry)

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return stop
