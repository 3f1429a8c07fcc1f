"""Log lines: one JSON object per line on stderr, the same for structlog and for libraries that use the standard
library.
"""

import logging
import sys
from typing import Any, Literal

import msgspec
import structlog

Level = Literal["debug", "info", "warning", "error"]


def configure(process: str, level: Level | str = "info") -> None:
    """Send everything to stderr from now on; ``process`` is a field of each line.

    Keys of a line: ``time`` (RFC 3339, UTC), ``level``, ``event`` (dotted past tense), ``process``, then what was
    bound or passed. HTTP libraries are kept at warning, since they log each request at info.
    """
    threshold = logging.getLevelNamesMapping()[level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        _Bound(process),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer(serializer=_serialize)],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.BytesLoggerFactory(sys.stderr.buffer),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(serializer=_serialize_text),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(threshold)
    for name in ("httpx2", "httpcore2", "httpx", "httpcore"):
        logging.getLogger(name).setLevel(max(threshold, logging.WARNING))


class _Bound:
    """Adds the process name to each line."""

    def __init__(self, process: str) -> None:
        self._process = process

    def __call__(self, _logger: object, _method: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
        line["process"] = self._process
        return line


def _serialize(line: Any, **_kwargs: object) -> bytes:  # noqa: ANN401 - structlog hands over whatever was logged
    return msgspec.json.encode(line, enc_hook=str)


def _serialize_text(line: Any, **_kwargs: object) -> str:  # noqa: ANN401 - likewise
    return _serialize(line).decode()
