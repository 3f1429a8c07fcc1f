"""Readings of a node agree only once nothing more is to come."""

from support.agreement import CLUSTER_TAG, INTERFACE, NODE, Json, Reading

FIRST, SECOND = ["10.0.0.16/28"], ["10.0.0.32/28"]


def test_a_node_without_pods_has_what_it_aims_at() -> None:
    """While it has pods one of ``loose`` may have more: of a prefix that drains pods have addresses still."""
    assert reading(FIRST, target=16).differences() == []
    assert reading([*FIRST, *SECOND], target=32).differences() == []

    found = reading([*FIRST, *SECOND], target=16).differences()

    assert found == ["n: addresses for 32 pods, demand {'usable': 32, 'target': 16}"]
    assert reading([*FIRST, *SECOND], target=16, pods=1).differences() == []


def test_an_interface_of_ours_without_anything_is_to_go() -> None:
    """The machine's own one stays."""
    assert reading([], FIRST, target=16).differences() == []
    assert reading(FIRST, [], target=16).differences() == ["n: eni-1 has nothing"]


def reading(*prefixes: list[str], target: int, pods: int = 0) -> Reading:
    """Cloud, status and pools agree on what each interface has."""
    held = {f"eni-{index}": had for index, had in enumerate(prefixes)}
    address = "10.0.0.16"
    allocated = f'{{"{address}": {{"podUid": "uid"}}}}' if pods else ""
    return Reading(
        machines={"n": "i-1"},
        interfaces=[_row(id_, index, had) for index, (id_, had) in enumerate(held.items())],
        networks={
            "n": {
                "spec": {},
                "status": {
                    "interfaces": [{"id": id_, "prefixes": had} for id_, had in held.items()],
                    "demand": {"usable": 16 * sum(map(len, prefixes)), "target": target},
                },
            }
        },
        pools=[_pool(id_, had, allocated) for id_, had in held.items() if had],
        blocks=[],
        pods=[{"metadata": {"uid": "uid"}, "spec": {"nodeName": "n"}}] * pods,
        owners={address: "uid"} if pods else {},
        loose=["n"],
    )


def _row(id_: str, index: int, prefixes: list[str]) -> Json:
    attachment = {"instance": "i-1", "state": "attached", "device_index": index, "delete_on_termination": True}
    families: Json = {"addresses": [], "ipv6_addresses": [], "ipv6_prefixes": []}
    tags = {CLUSTER_TAG: "c"} if index else {}
    return {"id": id_, "subnet": "s", "tags": tags, "attachment": attachment, "prefixes": prefixes, **families}


def _pool(interface: str, prefixes: list[str], allocated: str) -> Json:
    return {
        "metadata": {"name": f"n-{interface}", "annotations": {INTERFACE: interface}, "labels": {NODE: "n"}},
        "spec": {"nodeName": ["n"], "ips": prefixes},
        "status": {"allocatedIPs": allocated},
    }
