"""The CustomResourceDefinitions, made from ``kinds`` and their Structs.

``python -m underlay.core.api.crds DIRECTORY`` writes one YAML file per kind (``charts/underlay/crds``). The rest is
pure.
"""

import sys
from pathlib import Path

import msgspec

from underlay.core.api.kinds import Column, Definition, Rule, definitions
from underlay.core.api.meta import GROUP, VERSION
from underlay.core.api.schema import Schema, describe, structural


def manifest(definition: Definition) -> Schema:
    """The object to apply."""
    version: Schema = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": openapi(definition)},
    }
    if definition.columns:
        version["additionalPrinterColumns"] = [_column(column) for column in definition.columns]
    if definition.status_subresource:
        version["subresources"] = {"status": {}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": definition.name},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": definition.kind,
                "listKind": f"{definition.kind}List",
                "plural": definition.plural,
                "singular": definition.kind.lower(),
                "shortNames": [definition.short_name],
                "categories": ["spiderpool"],
            },
            "scope": definition.scope,
            "versions": [version],
        },
    }


def openapi(definition: Definition) -> Schema:
    """The schema of a whole object. Metadata is the server's own business."""
    properties: dict[str, Schema] = {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"type": "object"},
    }
    required = []
    for part in msgspec.structs.fields(definition.type):
        if part.encode_name not in properties:
            properties[part.encode_name] = structural(part.type, defaults=part.encode_name in definition.defaulted)
            required += [part.encode_name] if part.required else []
    root: Schema = {"type": "object", "description": describe(definition.type), "properties": properties}
    for path, rules in definition.rules.items():
        _at(root, path)["x-kubernetes-validations"] = [_rule(rule) for rule in rules]
    return root | ({"required": required} if required else {})


def _at(schema: Schema, path: str) -> Schema:
    for name in path.split("."):
        inner = schema["items"] if name == "[]" else _properties(schema)[name]
        if not isinstance(inner, dict):
            raise TypeError(f"{path}: {name} is not an object")
        schema = inner
    return schema


def _properties(schema: Schema) -> Schema:
    properties = schema["properties"]
    if not isinstance(properties, dict):
        raise TypeError("a schema without properties")
    return properties


def _rule(rule: Rule) -> Schema:
    rendered: Schema = {"rule": rule.rule, "message": rule.message}
    return rendered | ({"fieldPath": rule.field} if rule.field else {})


def _column(column: Column) -> Schema:
    rendered: Schema = {"name": column.name, "type": column.type, "jsonPath": column.path}
    return rendered | ({"priority": 10} if column.wide else {})


def main(arguments: list[str]) -> None:
    """Writes the files of ``charts/underlay/crds``."""
    directory = Path(arguments[0])
    directory.mkdir(parents=True, exist_ok=True)
    for definition in definitions():
        path = directory / f"{GROUP}_{definition.plural}.yaml"
        path.write_bytes(msgspec.yaml.encode(manifest(definition)))


if __name__ == "__main__":
    main(sys.argv[1:])
