"""The operator's parts of SpiderNodeNetworks: server-side apply, each against the version it was decided on."""

from collections.abc import Collection

import msgspec
from msgspec import structs

from underlay.core.api.kubernetes import Node
from underlay.core.api.nodenetwork import (
    OPERATOR_MANAGER,
    OperatorStatus,
    Service,
    SpiderNodeNetwork,
    SpiderNodeNetworkSpec,
    SpiderNodeNetworkStatus,
)
from underlay.core.cloud.model import CloudService
from underlay.core.kube import errors as kube_errors
from underlay.core.kube.client import KubeClient
from underlay.operator.providers import Provider

_ATTEMPTS = 5


class StolenRecord(kube_errors.KubeError):
    """Another operator wrote our part of the object: this one no longer leads, or lags behind itself."""


class LostRecord(kube_errors.KubeError):
    """The object has vanished: it is to be made again, of what is known of the machine."""


class Records:
    """The agent writes the same objects, so a conflict is ordinary: it is retried unless our own part changed."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client

    async def exists(self, name: str) -> bool:
        """There is a live SpiderNodeNetwork of that name."""
        try:
            await self._client.get(SpiderNodeNetwork, name)
        except kube_errors.NotFound:
            return False
        return True

    async def open(self, node: Node, provider: Provider) -> SpiderNodeNetwork:
        """The node's live SpiderNodeNetwork, with the spec its Node and provider ask for.

        That of another machine is left as it is.
        """
        name = node.metadata.name
        try:
            network = await self._client.get(SpiderNodeNetwork, name)
        except kube_errors.NotFound:
            spec = wanted_spec(node, provider, None)
            body = {"spec": msgspec.to_builtins(spec)}
            return await self._client.apply(SpiderNodeNetwork, name, body, manager=OPERATOR_MANAGER)
        spec = wanted_spec(node, provider, network.spec)
        if spec.provider_id != network.spec.provider_id:
            return network
        return network if spec == network.spec else await self.write_spec(network, spec)

    async def write_spec(self, network: SpiderNodeNetwork, spec: SpiderNodeNetworkSpec) -> SpiderNodeNetwork:
        """``network`` with ``spec``."""
        body = {"spec": msgspec.to_builtins(spec)}
        for _ in range(_ATTEMPTS):
            try:
                return await self._client.apply(
                    SpiderNodeNetwork,
                    network.metadata.name,
                    body,
                    manager=OPERATOR_MANAGER,
                    resource_version=network.metadata.resource_version,
                )
            except kube_errors.Conflict:
                network = await self._again(network)
        raise kube_errors.Conflict(
            409, "Conflict", f"SpiderNodeNetwork {network.metadata.name} changes faster than it can be written"
        )

    async def write_status(self, network: SpiderNodeNetwork, status: OperatorStatus) -> SpiderNodeNetwork:
        """``network`` with the operator's part of the status."""
        if status == operator_part(network):
            return network
        body = {"status": status}
        for _ in range(_ATTEMPTS):
            try:
                return await self._client.apply(
                    SpiderNodeNetwork,
                    network.metadata.name,
                    body,
                    manager=OPERATOR_MANAGER,
                    subresource="status",
                    resource_version=network.metadata.resource_version,
                )
            except kube_errors.Conflict:
                network = await self._again(network)
        raise kube_errors.Conflict(
            409, "Conflict", f"SpiderNodeNetwork {network.metadata.name} changes faster than it can be written"
        )

    async def confirm(self, network: SpiderNodeNetwork) -> None:
        """Raises ``StolenRecord`` unless our part of the object is what we know: decisions that rest on it are ours.
        ``LostRecord``: it is not there.
        """
        try:
            await self._again(network)
        except kube_errors.NotFound as error:
            name = network.metadata.name
            raise LostRecord(404, "NotFound", f"SpiderNodeNetwork {name} has vanished") from error

    async def _again(self, network: SpiderNodeNetwork) -> SpiderNodeNetwork:
        live = await self._client.get(SpiderNodeNetwork, network.metadata.name)
        if (
            live.metadata.uid != network.metadata.uid
            or live.spec != network.spec
            or operator_part(live) != operator_part(network)
        ):
            raise StolenRecord(
                409, "Conflict", f"SpiderNodeNetwork {network.metadata.name} was written by another operator"
            )
        return live


def operator_part(network: SpiderNodeNetwork) -> OperatorStatus:
    """What the operator itself has written, condition types of its own only."""
    status = network.status or SpiderNodeNetworkStatus()
    return OperatorStatus(
        instance=status.instance,
        limits=status.limits,
        interfaces=status.interfaces,
        intents=status.intents,
        demand=status.demand,
        conditions=[condition for condition in status.conditions if condition.type in OWN_CONDITIONS],
    )


OWN_CONDITIONS = frozenset({"SufficientIP"})


def wanted_spec(node: Node, provider: Provider, have: SpiderNodeNetworkSpec | None) -> SpiderNodeNetworkSpec:
    """The spec for a node of a provider; releases under way and what is said of fixed addresses stay as they are.

    So do the cloud's services while the driver cannot be loaded: pods stay kept from them.
    """
    policy = provider.value.spec
    # Said from the beginning: no pod of a stable owner gets another address before its node's first round.
    begun = have or SpiderNodeNetworkSpec(
        provider=provider.name,
        node_uid="",
        provider_id="",
        fixed_address="required" if policy.fixed_address == "required" else "",
    )
    return structs.replace(
        begun,
        provider=provider.name,
        node_uid=node.metadata.uid or "",
        provider_id=node.spec.provider_id or "",
        network_type=policy.network.type,
        families=policy.addresses.families,
        cooldown_seconds=policy.addresses.cooldown_seconds,
        services=_services(provider.driver.services) if provider.driver else begun.services,
        pod_metadata_access=policy.pod_metadata_access,
    )


def _services(named: Collection[CloudService]) -> list[Service]:
    ordered = sorted(named, key=lambda item: (item.address.version, int(item.address)))
    return [Service(address=str(item.address), purpose=item.purpose) for item in ordered]
