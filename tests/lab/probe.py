"""Asks the kernel, never a list: a link is made in a namespace that is gone with the process that made it."""

import subprocess

_MAKE_ONE = "ip link add master0 type veth peer name peer0 && ip link add link master0 name slave0 type ipvlan mode l2"


def has_ipvlan() -> bool:
    """Whether ipvlan links can be made here (the kernel loads its module by itself). Needs root."""
    made = subprocess.run(["unshare", "--net", "sh", "-c", _MAKE_ONE], capture_output=True, check=False)
    return made.returncode == 0
