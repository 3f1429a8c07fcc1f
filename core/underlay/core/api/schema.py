"""A Struct type → the structural OpenAPI v3 schema of a CustomResourceDefinition. Pure.

Structural schemas know neither ``$ref`` nor ``anyOf``: types are written inline and ``X | None`` becomes ``nullable``.
Constraints come from ``msgspec.Meta`` at the field, so that the API server and our decoder refuse the same values.
Descriptions come from docstrings, with attribute names turned into the names a user of ``kubectl explain`` sees.

Source: Kubernetes documentation, "Extend the Kubernetes API with CustomResourceDefinitions": structural schemas,
defaulting and nullable.
"""

import re
from inspect import cleandoc

import msgspec
from msgspec import inspect

Schema = dict[str, object]


def structural(type_: object, *, defaults: bool) -> Schema:
    """The schema of ``type_``; ``defaults`` writes the Structs' defaults into it.

    Only defaults that say something are written: not None, and not the empty text, list or map, which mean "absent".
    Raises ``TypeError`` for a type that a structural schema cannot express.
    """
    return _schema(inspect.type_info(type_), defaults=defaults)


def _schema(type_: inspect.Type, *, defaults: bool) -> Schema:
    match type_:
        case inspect.Metadata():
            return _schema(type_.type, defaults=defaults) | (type_.extra_json_schema or {})
        case inspect.UnionType():
            return _optional(type_, defaults=defaults)
        case inspect.ListType():
            items = {"items": _schema(type_.item_type, defaults=defaults)}
            return {"type": "array", **items, **_bounds(minItems=type_.min_length, maxItems=type_.max_length)}
        case inspect.DictType():
            values = {"additionalProperties": _schema(type_.value_type, defaults=defaults)}
            lengths = _bounds(minProperties=type_.min_length, maxProperties=type_.max_length)
            return {"type": "object", **values, **lengths}
        case inspect.StructType():
            return _object(type_, defaults=defaults)
        case _:
            return _scalar(type_)


def _scalar(type_: inspect.Type) -> Schema:
    match type_:
        case inspect.BoolType():
            return {"type": "boolean"}
        case inspect.IntType():
            return {"type": "integer", **_bounds(minimum=type_.ge, maximum=type_.le)}
        case inspect.FloatType():
            return {"type": "number", **_bounds(minimum=type_.ge, maximum=type_.le)}
        case inspect.StrType():
            lengths = _bounds(minLength=type_.min_length, maxLength=type_.max_length, pattern=type_.pattern)
            return {"type": "string", **lengths}
        case inspect.LiteralType():
            kind = "string" if all(isinstance(value, str) for value in type_.values) else "integer"
            return {"type": kind, "enum": list(type_.values)}
        case _:
            raise TypeError(f"{type_} has no structural schema")


def _optional(union: inspect.UnionType, *, defaults: bool) -> Schema:
    """``X | None``. An enumeration is not made nullable: the server would refuse the null; so it drops it instead."""
    members = [member for member in union.types if not isinstance(member, inspect.NoneType)]
    if len(members) != 1:
        raise TypeError(f"{union} is neither one type nor one type or None")
    schema = _schema(members[0], defaults=defaults)
    return schema if "enum" in schema else schema | {"nullable": True}


def _object(struct: inspect.StructType, *, defaults: bool) -> Schema:
    properties: dict[str, Schema] = {}
    for field in struct.fields:
        properties[field.encode_name] = _schema(field.type, defaults=defaults)
        if defaults:
            properties[field.encode_name] |= _default(field, properties[field.encode_name])
    schema: Schema = {"type": "object", "description": describe(struct.cls), "properties": properties}
    required = [field.encode_name for field in struct.fields if field.required]
    return schema | ({"required": required} if required else {})


def _default(field: inspect.Field, schema: Schema) -> Schema:
    """``{"default": ...}`` or nothing. A Struct's default is written out: the server runs rules on it as it stands."""
    value = field.default_factory() if field.default_factory is not msgspec.NODEFAULT else field.default
    if isinstance(value, msgspec.Struct):
        if value != type(value)():
            raise TypeError(f"{field.name}: the default of a Struct field must be the Struct's own defaults")
        inner = _inner_defaults(schema)
        return {"default": inner} if inner else {}
    if value is msgspec.NODEFAULT or value is None or value in ("", [], {}):
        return {}
    return {"default": msgspec.to_builtins(value)}


def _inner_defaults(schema: Schema) -> Schema:
    properties = schema["properties"]
    members = properties.items() if isinstance(properties, dict) else ()
    return {name: member["default"] for name, member in members if "default" in member}


def _bounds(**bounds: float | str | None) -> Schema:
    return {name: value for name, value in bounds.items() if value is not None}


def describe(struct: type[msgspec.Struct]) -> str:
    """The docstring of a kind or part of it, for ``kubectl explain``."""
    names = {field.name: field.encode_name for field in msgspec.structs.fields(struct)}
    text = cleandoc(struct.__doc__ or "")
    text = re.sub(r"``(.+?)``", lambda found: f"'{names.get(found[1], found[1])}'", text)
    return re.sub(r"(?<!\n)\n(?!\n)", " ", text)
