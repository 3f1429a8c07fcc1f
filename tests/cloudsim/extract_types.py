"""``python -m cloudsim.extract_types DESCRIBED SOURCE DATE``: writes model/instance_types.json.

DESCRIBED is a file with EC2's own answers to DescribeInstanceTypes as JSON, optionally compressed: either the CLI's
``{"InstanceTypes": [...]}`` or the same entries by name. Only the figures that the simulator needs are taken.
"""

import argparse
import gzip
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cloudsim.model.instance_types import DATA

Entry = Mapping[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(prog="cloudsim.extract_types")
    parser.add_argument("described", type=Path)
    parser.add_argument("source", help="where DESCRIBED comes from, for the reader of the file")
    parser.add_argument("date", help="of DESCRIBED")
    arguments = parser.parse_args()
    DATA.write_text(render(_entries(arguments.described), arguments.source, arguments.date), encoding="utf-8")


def render(entries: Iterable[Entry], source: str, date: str) -> str:
    """One line for each type, so that a new edition of the table is a readable difference."""
    columns = (
        "interfaces of each network card",
        "IPv4 addresses per interface",
        "IPv6 addresses per interface",
        "hypervisor, empty for bare metal",
        "vCPUs",
        "memory in MiB",
        "architecture",
        "ENA support",
        "EFA interfaces",
        "current generation",
    )
    lines = [f'    "{entry["InstanceType"]}": {json.dumps(_row(entry))}' for entry in sorted(entries, key=_name)]
    head = {"source": source, "date": date, "columns": columns}
    opening = json.dumps(head, indent=2).removesuffix("\n}")
    rows = ",\n".join(lines)
    return f'{opening},\n  "types": {{\n{rows}\n  }}\n}}\n'


def _row(entry: Entry) -> list[object]:
    network = entry["NetworkInfo"]
    return [
        [card["MaximumNetworkInterfaces"] for card in network["NetworkCards"]],
        network["Ipv4AddressesPerInterface"],
        network["Ipv6AddressesPerInterface"],
        entry.get("Hypervisor", ""),
        entry["VCpuInfo"]["DefaultVCpus"],
        entry["MemoryInfo"]["SizeInMiB"],
        entry["ProcessorInfo"]["SupportedArchitectures"][-1],
        network["EnaSupport"],
        network.get("EfaInfo", {}).get("MaximumEfaInterfaces", 0),
        entry["CurrentGeneration"],
    ]


def _name(entry: Entry) -> str:
    return str(entry["InstanceType"])


def _entries(path: Path) -> list[Entry]:
    content = path.read_bytes()
    described = json.loads(gzip.decompress(content) if path.suffix == ".gz" else content)
    return list(described.get("InstanceTypes") or described.values())


if __name__ == "__main__":
    main()
