"""``Filter.n`` and ``MaxResults``/``NextToken``, the same for all describes.

Filters are joined by AND, the values of one by OR; ``*`` and ``?`` are wildcards, values are case-sensitive.
"""

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TypeVar

from cloudsim.model.errors import Refused, invalid_value
from cloudsim.model.tags import Tags
from cloudsim.wire.query import Params

T = TypeVar("T")

Fields = Mapping[str, Callable[[T], Iterable[str]]]
"""Filter name → the values a record has under it."""

MOST_VALUES = 200


_BEFORE_ALL = "\0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """``cut_short``: show only half of what the page would hold, as EC2 may; the token leads to the rest."""

    size: int | None
    after: str
    cut_short: bool = False


def read_filters(params: Params) -> Mapping[str, tuple[str, ...]]:
    filters = {element.required("Name"): element.texts("Value") for element in params.elements("Filter")}
    if any(len(values) > MOST_VALUES for values in filters.values()):
        raise Refused("FilterLimitExceeded", f"The maximum number of filter values is {MOST_VALUES}")
    return filters


def matching(
    records: Iterable[T],
    filters: Mapping[str, tuple[str, ...]],
    fields: Fields[T],
    tags_of: Callable[[T], Tags] | None = None,
) -> list[T]:
    """Refuses a filter that the operation does not have."""
    wanted = [(_reader(name, fields, tags_of), values) for name, values in filters.items()]
    return [record for record in records if all(_fits(read(record), values) for read, values in wanted)]


def read_page(params: Params, *, most: int, least: int = 5, named: Sequence[str] = (), named_as: str = "") -> Page:
    """``named`` are ids given in the request, which paging excludes where ``named_as`` says so."""
    size = params.integer("MaxResults")
    token = params.text("NextToken")
    if size is not None and not least <= size <= most:
        bound = f"greater than or equal to {least}" if size < least else f"less than or equal to {most}"
        raise invalid_value(f"Value ( {size} ) for parameter maxResults is invalid. Expecting a value {bound}.")
    if named and named_as and size is not None:
        raise Refused(
            "InvalidParameterCombination", f"The parameter {named_as} cannot be used with the parameter maxResults"
        )
    return Page(size=size, after=_decode(token) if token else "", cut_short=params.cut_short)


def cut(records: Iterable[T], page: Page, key: Callable[[T], str]) -> tuple[list[T], str | None]:
    """The page's records, by key, and the token of the next page."""
    ordered = sorted((record for record in records if key(record) > page.after), key=key)
    shown = ordered if page.size is None else ordered[: page.size]
    if page.cut_short:
        shown = shown[: len(shown) // 2]
    if len(shown) == len(ordered):
        return shown, None
    last = key(shown[-1]) if shown else page.after or _BEFORE_ALL
    return shown, base64.urlsafe_b64encode(last.encode()).decode()


def _reader(name: str, fields: Fields[T], tags_of: Callable[[T], Tags] | None) -> Callable[[T], Iterable[str]]:
    if name in fields:
        return fields[name]
    if tags_of is not None and name == "tag-key":
        return lambda record: tags_of(record).keys()
    if tags_of is not None and name.startswith("tag:"):
        key = name.removeprefix("tag:")
        return lambda record: (value for tag, value in tags_of(record).items() if tag == key)
    raise invalid_value(f"The filter '{name}' is invalid")


def _fits(has: Iterable[str], wanted: tuple[str, ...]) -> bool:
    return any(fnmatchcase(value, pattern.replace("[", "[[]")) for value in has for pattern in wanted)


def _decode(token: str) -> str:
    try:
        return base64.b64decode(token.encode(), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError) as error:
        raise Refused("InvalidPaginationToken", "The specified pagination token is not valid.") from error
