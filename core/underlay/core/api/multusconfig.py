"""SpiderMultusConfig: a network pods can name, rendered as a NetworkAttachmentDefinition. Pure. Spiderpool's fields."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from underlay.core.api.coordinator import CoordinatorSpec
from underlay.core.api.meta import API_VERSION, Natural, ObjectMeta, wire_name

VlanId = Annotated[int, Meta(ge=0, le=4094)]


class Bond(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """A bond made of several masters. ``mode`` as in the kernel: 0 balance-rr … 6 balance-alb."""

    name: str
    mode: Annotated[int, Meta(ge=0, le=6)]
    options: str | None = None


class DefaultPools(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """Pools of this network, by family; names may hold wildcards.

    ``match_master_subnet``: only pools in whose subnet the master has an address (SR-IOV).
    """

    ipv4: list[str] | None = None
    ipv6: list[str] | None = None
    match_master_subnet: bool = False


class MacvlanConfig(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """``master`` names host links; several are bonded. ``mtu`` 0: the master's."""

    master: list[str]
    mtu: int = 0
    vlan_id: VlanId | None = None
    bond: Bond | None = None
    rdma_resource_name: str | None = None
    ippools: DefaultPools | None = None


class IpvlanConfig(MacvlanConfig, frozen=True, kw_only=True, rename=wire_name):
    """``master`` names host links; several are bonded. ``mtu`` 0: the master's."""


class VlanConfig(MacvlanConfig, frozen=True, kw_only=True, rename=wire_name):
    """``vlan_mode`` auto: the VLAN is the one the provider gave with the address."""

    vlan_mode: Literal["manual", "auto"] = "manual"


class SriovConfig(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """``resource_name`` is the device plugin's; rates in Mbit/s, 0: unlimited."""

    resource_name: str
    vlan_id: VlanId | None = None
    mtu: int = 0
    min_tx_rate_mbps: Natural | None = None
    max_tx_rate_mbps: Natural | None = None
    rdma_isolation: bool = False
    ippools: DefaultPools | None = None


class IbSriovConfig(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """InfiniBand virtual functions."""

    resource_name: str
    pkey: str | None = None
    link_state: Literal["auto", "enable", "disable"] = "enable"
    rdma_isolation: bool = True
    enable_ib_kubernetes: bool = False
    ippools: DefaultPools | None = None


class IpoibConfig(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """IP over InfiniBand."""

    master: str
    ippools: DefaultPools | None = None


class Trunk(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """VLANs a port carries: one ``id``, or ``min_id`` to ``max_id``."""

    min_id: VlanId | None = None
    max_id: VlanId | None = None
    id: VlanId | None = None


class OvsConfig(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """An Open vSwitch ``bridge``; ``device_id`` is a VF's PCI address."""

    bridge: str
    vlan: int | None = None
    trunk: list[Trunk] | None = None
    device_id: str | None = None
    ippools: DefaultPools | None = None


class SpiderMultusConfigSpec(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """``cni_type`` names the section that counts; ``custom``: ``custom_cni`` holds the CNI configuration itself.

    Each element of ``chain_cni_json_data`` is the JSON of one more plugin of the list.
    """

    cni_type: Literal["macvlan", "ipvlan", "vlan", "sriov", "ovs", "ib-sriov", "ipoib", "custom"] = "custom"
    macvlan: MacvlanConfig | None = None
    ipvlan: IpvlanConfig | None = None
    vlan: VlanConfig | None = None
    sriov: SriovConfig | None = None
    ibsriov: IbSriovConfig | None = None
    ipoib: IpoibConfig | None = None
    ovs: OvsConfig | None = None
    enable_coordinator: bool = True
    disable_ipam: bool = False
    coordinator: CoordinatorSpec | None = None
    chain_cni_json_data: list[str] | None = None
    custom_cni: str | None = None


class SpiderMultusConfig(msgspec.Struct, frozen=True, kw_only=True, rename=wire_name):
    """One network a pod can name."""

    metadata: ObjectMeta
    spec: SpiderMultusConfigSpec = SpiderMultusConfigSpec()
    api_version: str = API_VERSION
    kind: str = "SpiderMultusConfig"
