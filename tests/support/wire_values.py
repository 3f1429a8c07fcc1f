"""Hypothesis strategies for any type of ``core.api``: values in wire form (JSON names and types) that it admits."""

from typing import Any

from hypothesis import strategies as st
from msgspec import inspect

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=12)
LARGEST = 2**53
"""Integers beyond it are not exact in every JSON reader."""


def values(type_: inspect.Type) -> st.SearchStrategy[Any]:
    """Lists keyed by a field get distinct keys; rules between fields are not known here."""
    match type_:
        case inspect.Metadata():
            return _keyed(type_)
        case inspect.UnionType():
            return st.one_of([values(member) for member in type_.types])
        case inspect.ListType():
            return st.lists(values(type_.item_type), min_size=type_.min_length or 0, max_size=type_.max_length or 3)
        case inspect.DictType():
            return st.dictionaries(TEXT.filter(bool), values(type_.value_type), max_size=3)
        case inspect.StructType():
            return st.fixed_dictionaries({field.encode_name: values(field.type) for field in type_.fields})
        case _:
            return _scalar(type_)


def _scalar(type_: inspect.Type) -> st.SearchStrategy[Any]:
    match type_:
        case inspect.NoneType():
            return st.none()
        case inspect.BoolType():
            return st.booleans()
        case inspect.IntType():
            return st.integers(-LARGEST if type_.ge is None else type_.ge, LARGEST if type_.le is None else type_.le)
        case inspect.FloatType():
            return st.floats(type_.ge, type_.le, allow_subnormal=False).map(abs)
        case inspect.StrType():
            shortest = type_.min_length or 0
            return TEXT.filter(lambda text: len(text) >= shortest)
        case inspect.LiteralType():
            return st.sampled_from(type_.values)
        case _:
            raise TypeError(f"no values for {type_}")


def _keyed(annotated: inspect.Metadata) -> st.SearchStrategy[Any]:
    keys = (annotated.extra_json_schema or {}).get("x-kubernetes-list-map-keys")
    if not (isinstance(annotated.type, inspect.ListType) and keys):
        return values(annotated.type)
    return st.lists(values(annotated.type.item_type), max_size=3, unique_by=lambda item: item[keys[0]])
