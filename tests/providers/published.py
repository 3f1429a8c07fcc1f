"""The policies of docs/aws.md."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def policies() -> list[Mapping[str, Any]]:
    """Every policy of docs/aws.md, in the order in which they stand there."""
    text = (ROOT / "docs" / "aws.md").read_text(encoding="utf-8")
    return [json.loads(block) for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL)]


def actions(policy: Mapping[str, Any]) -> list[str]:
    """What it allows, statement by statement."""
    listed: list[str] = []
    for statement in policy["Statement"]:
        assert statement["Effect"] == "Allow"
        listed += [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]
    return listed


def main_policy() -> Sequence[str]:
    """The one for EC2."""
    (found,) = filter(of_ec2, map(actions, policies()))
    return found


def of_ec2(listed: Sequence[str]) -> bool:
    """Whether it is about EC2."""
    return any(item.startswith("ec2:") for item in listed)
