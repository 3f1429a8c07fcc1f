"""Answers in EC2's XML: mappings become elements, sequences become ``<item>`` lists, None is left out."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from xml.etree import ElementTree as ET

NAMESPACE = "http://ec2.amazonaws.com/doc/2016-11-15/"

Node = Mapping[str, "Node"] | Sequence["Node"] | str | int | bool | datetime | None


def answer(action: str, request_id: str, body: Mapping[str, Node]) -> bytes:
    root = ET.Element(f"{action}Response", xmlns=NAMESPACE)
    fill(root, {"requestId": request_id, **body})
    return to_bytes(root)


def error(code: str, message: str, request_id: str) -> bytes:
    root = ET.Element("Response")
    fill(root, {"Errors": {"Error": {"Code": code, "Message": message}}, "RequestID": request_id})
    return to_bytes(root)


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def fill(parent: ET.Element, node: Node) -> None:
    """Puts ``node`` into ``parent``."""
    match node:
        case None:
            pass
        case bool():
            parent.text = "true" if node else "false"
        case str() | int():
            parent.text = str(node)
        case datetime():
            parent.text = node.strftime("%Y-%m-%dT%H:%M:%S.000Z")
        case Mapping():
            for name, child in node.items():
                if child is not None:
                    fill(ET.SubElement(parent, name), child)
        case Sequence():
            for child in node:
                fill(ET.SubElement(parent, "item"), child)


def to_bytes(root: ET.Element) -> bytes:
    """The whole document."""
    text: str = ET.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}'.encode()
