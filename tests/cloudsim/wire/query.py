"""Form parameters of the query protocol: ``Filter.1.Name=…``. Lists are numbered from 1, in any order.

Every parameter must be read by its operation: one that is not known is refused, never ignored in silence.
"""

import re
from collections.abc import Mapping

from cloudsim.model.errors import Refused, invalid_value

_COMMON = {"Action", "Version", "DryRun"}


class Params:
    """The parameters of one request, or of one numbered element of it."""

    def __init__(
        self, values: Mapping[str, str], prefix: str = "", read: set[str] | None = None, *, cut_short: bool = False
    ) -> None:
        self.cut_short = cut_short
        """Whether the answer's page is to be shorter than asked for."""
        self._values = values
        self._prefix = prefix
        self._read: set[str] = set() if read is None else read

    def text(self, name: str) -> str | None:
        key = self._prefix + name
        self._read.add(key)
        return self._values.get(key)

    def required(self, name: str) -> str:
        value = self.text(name)
        if not value:
            raise Refused("MissingParameter", f"The request must contain the parameter {self._prefix}{name}")
        return value

    def integer(self, name: str) -> int | None:
        value = self.text(name)
        if value is None:
            return None
        try:
            return int(value)
        except ValueError as error:
            raise invalid_value(f"Invalid value '{value}' for {name}. It must be an integer.") from error

    def required_integer(self, name: str) -> int:
        value = self.integer(name)
        if value is None:
            raise Refused("MissingParameter", f"The request must contain the parameter {self._prefix}{name}")
        return value

    def boolean(self, name: str) -> bool | None:
        value = self.text(name)
        if value is None:
            return None
        if value not in {"true", "false"}:
            raise invalid_value(f"Invalid value '{value}' for {name}. It must be true or false.")
        return value == "true"

    def texts(self, name: str) -> tuple[str, ...]:
        """``name.1``, ``name.2``, … by number."""
        return tuple(self._values[key] for key in self._numbered(name, nested=False))

    def elements(self, name: str) -> tuple["Params", ...]:
        """``name.1.*``, ``name.2.*``, … by number."""
        return tuple(Params(self._values, f"{key}.", self._read) for key in self._numbered(name, nested=True))

    def fingerprint(self, *, without: frozenset[str]) -> str:
        """The same for requests that ask for the same."""
        return repr(sorted(item for item in self._values.items() if item[0] not in without | _COMMON))

    def finish(self) -> None:
        """Refuses the first parameter that nobody read."""
        for key in self._values:
            if key not in self._read and key not in _COMMON:
                raise Refused("UnknownParameter", f"The parameter {key} is not recognized")

    def _numbered(self, name: str, *, nested: bool) -> list[str]:
        pattern = re.compile(rf"{re.escape(self._prefix + name)}\.(\d+)" + (r"(?=\.)" if nested else r"\Z"))
        numbers: dict[str, int] = {}
        for key in self._values:
            if match := pattern.match(key):
                numbers[match[0]] = int(match[1])
                if not nested:
                    self._read.add(key)
        return sorted(numbers, key=numbers.__getitem__)
