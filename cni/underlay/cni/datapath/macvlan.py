"""macvlan in bridge mode: the pod has a MAC of its own on the master's network. Pure."""

from underlay.cni.datapath.model import Link
from underlay.core.identity import Mac


def slave(*, name: str, index: int, master: int, mac: Mac, mtu: int) -> Link:
    """The pod's link. ``mac`` is given or chosen by the caller, never by the kernel: the result must name it."""
    return Link(name=name, index=index, kind="macvlan", master=master, mac=mac, mtu=mtu)
