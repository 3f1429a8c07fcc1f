"""ipvlan in l2 mode: the pod shares the master's MAC, as a cloud wants that lets an interface send from one MAC. Pure.

With the subnet's mask on the slave the gateway is on-link, and the kernel refuses an address that another slave has.
"""

from underlay.cni.datapath.model import Link


def slave(*, name: str, index: int, master: int, mtu: int) -> Link:
    """The pod's link; its MAC is the master's."""
    return Link(name=name, index=index, kind="ipvlan", master=master, mtu=mtu)
