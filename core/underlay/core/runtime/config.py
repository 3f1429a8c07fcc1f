"""A settings file becomes a frozen value, or an error that names the field."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from underlay.core.errors import InvalidInput

T = TypeVar("T", bound=msgspec.Struct)

_MESSAGE = re.compile(r"^(?P<what>.*?)(?: - at `\$\.?(?P<path>.*)`)?$", re.DOTALL)


def load(settings_type: type[T], path: Path | None) -> T:
    """Settings of ``path`` (JSON, or YAML when it ends in .yaml or .yml); None: all defaults.

    ``settings_type`` is declared with ``rename="camel"``. Unknown keys are refused at every depth: a misspelt setting
    that is silently ignored costs more than a refusal.
    Raises ``InvalidInput`` with the field's path as a person finds it in the file.
    """
    raw = {} if path is None else _read(path)
    try:
        settings = msgspec.convert(raw, settings_type, dec_hook=_path)
    except msgspec.ValidationError as error:
        raise _invalid(error, raw) from error
    for field, known in _unknown(raw, settings, ""):
        raise InvalidInput(field, found="a key of this name", expected=f"one of {', '.join(known)}")
    return settings


def _path(wanted: type, found: object) -> object:
    if wanted is Path and isinstance(found, str):
        return Path(found)
    raise NotImplementedError(f"settings of type {wanted}")


def _read(path: Path) -> object:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidInput(str(path), found=error.strerror, expected="a readable settings file") from error
    try:
        if path.suffix in {".yaml", ".yml"}:
            return msgspec.yaml.decode(content) or {}
        return msgspec.json.decode(content)
    except msgspec.DecodeError as error:
        raise InvalidInput(str(path), found=str(error), expected="a well-formed settings file") from error


def _invalid(error: msgspec.ValidationError, raw: object) -> InvalidInput:
    match = _MESSAGE.match(str(error))
    what, path = (match["what"], match["path"] or "") if match else (str(error), "")
    if missing := re.fullmatch(r"Object missing required field `(.+)`", what):
        return InvalidInput(".".join(filter(None, (path, missing[1]))), found=None, expected="a value (required)")
    if unknown := re.fullmatch(r"Object contains unknown field `(.+)`", what):
        return InvalidInput(".".join(filter(None, (path, unknown[1]))), found=unknown[1], expected="a known key")
    expected = re.sub(r", got .*$", "", what.removeprefix("Expected ")).replace("`", "")
    return InvalidInput(path or "settings", found=_at(raw, path), expected=expected)


def _at(raw: object, path: str) -> object:
    """The value at msgspec's path (``a.b[0]``); ``[...]`` stands for an unknown key, then the value around it is
    given.
    """
    for step in re.findall(r"[^.\[\]]+|\[\.\.\.\]|\[\d+\]", path):
        if isinstance(raw, Mapping) and step in raw:
            raw = raw[step]
        elif isinstance(raw, list) and step.strip("[]").isdigit():
            raw = raw[int(step.strip("[]"))]
        else:
            return raw
    return raw


def _unknown(raw: object, value: object, path: str) -> Iterator[tuple[str, list[str]]]:
    """Paths of keys in ``raw`` that no Struct of ``value`` has, each with the keys it has."""
    if isinstance(value, msgspec.Struct) and isinstance(raw, Mapping):
        fields = {field.encode_name: field.name for field in msgspec.structs.fields(value)}
        for key, item in raw.items():
            where = f"{path}.{key}" if path else str(key)
            if key not in fields:
                yield where, sorted(fields)
            else:
                yield from _unknown(item, getattr(value, fields[key]), where)
    elif isinstance(value, Mapping) and isinstance(raw, Mapping):
        for key in raw.keys() & value.keys():
            yield from _unknown(raw[key], value[key], f"{path}.{key}")
    elif isinstance(value, list | tuple) and isinstance(raw, list | tuple):
        for position, (item, part) in enumerate(zip(raw, value, strict=False)):
            yield from _unknown(item, part, f"{path}[{position}]")
