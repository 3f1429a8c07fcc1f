"""docs/aws.md publishes exactly what the driver can call; what is not allowed is named, whichever call it is."""

import ast
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.model import ListShape, OperationModel, Shape, StructureShape
from botocore.session import Session

from cloudsim.server.app import Settings
from cloudsim.threaded import Simulator, simulator
from providers.published import ROOT, actions, main_policy, of_ec2, policies
from underlay.core.cloud import errors
from underlay.core.cloud.limits import CallGate
from underlay.core.cloud.registry import ProviderSettings
from underlay.core.runtime.clock import RealClock
from underlay.providers.aws.calls import RATES, Ec2
from underlay.providers.aws.convert import Nothing

DRIVER = ROOT / "providers" / "underlay" / "providers" / "aws"
REGION = "eu-central-1"
NOT_CALLERS = {"errors.py"}
"""Files that speak of operations without calling them."""
SERVICE = Session().get_service_model("ec2")


def called() -> set[str]:
    """The EC2 operations that the driver's source names, other than in its table of rates."""
    found: set[str] = set()
    for path in DRIVER.glob("*.py"):
        if path.name in NOT_CALLERS:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        tables = [node for node in ast.walk(tree) if isinstance(node, ast.AnnAssign) and _name(node) == "RATES"]
        skipped = {id(node) for table in tables for node in ast.walk(table)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped:
                found |= {node.value} & set(SERVICE.operation_names)
    return found


def _name(node: ast.AnnAssign) -> str:
    return node.target.id if isinstance(node.target, ast.Name) else ""


def test_what_is_declared_is_what_is_called() -> None:
    """Every operation of ``RATES`` is called somewhere, and no other."""
    declared = set(RATES)

    assert called() - declared == set(), "called but not in RATES of calls.py"
    assert declared - called() == set(), "in RATES of calls.py, and called nowhere: take it out, and out of docs/aws.md"


def test_the_published_policy_is_what_is_called() -> None:
    """No action more, none less, none twice, none by wildcard."""
    published = main_policy()
    needed = {f"ec2:{operation}" for operation in RATES}

    assert needed - set(published) == set(), "add these to the policy in docs/aws.md"
    assert set(published) - needed == set(), "take these out of the policy in docs/aws.md, the driver never calls them"
    assert sorted(published) == sorted(set(published))


def test_other_policies_name_what_taking_a_role_needs() -> None:
    """Those that let an identity take a role, and those of who may take it, name STS's actions alone."""
    others = [policy for policy in policies() if not of_ec2(actions(policy))]
    trusting = [policy for policy in others if any("Principal" in item for item in policy["Statement"])]
    taking = [policy for policy in others if policy not in trusting]

    assert [actions(policy) for policy in taking] == [["sts:AssumeRole"]]
    assert sorted(map(actions, trusting)) == [
        ["sts:AssumeRole"],
        ["sts:AssumeRole", "sts:TagSession"],
        ["sts:AssumeRoleWithWebIdentity"],
    ]


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    with simulator(Settings(region=REGION, lag_seconds=0)) as running:
        yield running


@pytest.mark.parametrize("operation", sorted(RATES))
async def test_a_denied_call_names_its_action(operation: str, sim: Simulator) -> None:
    """Whichever it is: the action to allow is named, the text is short and the same at every attempt, although EC2's
    own carries kilobytes that never are.
    """
    sim.control("POST", "/credentials", {"access_key": "AKIADENIED", "deny": [operation]})
    gate = CallGate(clock=RealClock(), lease=lambda: True)
    given = {"access_key_id": "AKIADENIED", "secret_access_key": "secret"}
    settings = ProviderSettings(
        name="a", region=REGION, endpoint=sim.url, credentials=given, gate=gate, cluster="kube-system-uid"
    )
    ec2, texts = Ec2(settings), set()
    for _ in range(2):
        with pytest.raises(errors.Denied) as caught:
            await ec2.call(operation, Nothing, **_parameters(SERVICE.operation_model(operation)))
        assert caught.value.permission == f"ec2:{operation}"
        texts.add(caught.value.message)
    await ec2.close()

    (text,) = texts
    assert len(text) < 400
    assert "Encoded" not in text


def _parameters(operation: OperationModel) -> dict[str, Any]:
    """The least that the SDK sends."""
    found = _value(operation.input_shape) if operation.input_shape else {}
    assert isinstance(found, dict)
    return found


def _value(shape: Shape) -> object:
    if isinstance(shape, StructureShape):
        return {name: _value(shape.members[name]) for name in shape.required_members}
    if isinstance(shape, ListShape):
        return [_value(shape.member)]
    return {"integer": 1, "long": 1, "boolean": True}.get(shape.type_name, "x")
