"""Which step of a plan goes where. Pure."""

from dataclasses import dataclass

from underlay.cni.datapath.model import EMPTY, Link, NftTable, Sysctl
from underlay.cni.datapath.plan import Create, Plan, Step, diff
from underlay.cni.datapath.wire import is_file


@dataclass(frozen=True, slots=True, kw_only=True)
class Batches:
    """The steps of an attachment into fresh namespaces, in the order of the fields.

    ``files``: settings under /proc/sys of the pod. ``links``: creation of the pod's links, asked for in the host's
    namespace, where their master is. They are a batch of their own because the kernel goes on after an error: where a
    link's index turns out to be taken, what follows would be done to the link that has it.
    ``tables``: nft tables of the pod.
    """

    files: tuple[Sysctl, ...]
    links: tuple[Step, ...]
    pod: tuple[Step, ...]
    host: tuple[Step, ...]
    tables: tuple[NftTable, ...]


def arrange(plan: Plan) -> Batches:
    """Sort the steps of ``plan`` from nothing."""
    files: list[Sysctl] = []
    links: list[Step] = []
    pod: list[Step] = []
    tables: list[NftTable] = []
    for step in diff(EMPTY, plan.pod):
        match step:
            case Create(Link()):
                links.append(step)
            case Create(Sysctl() as sysctl) if is_file(sysctl):
                files.append(sysctl)
            case Create(NftTable() as table):
                tables.append(table)
            case _:
                pod.append(step)
    host = diff(EMPTY, plan.host)
    return Batches(files=tuple(files), links=tuple(links), pod=tuple(pod), host=host, tables=tuple(tables))
