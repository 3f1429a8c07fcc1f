"""JSON bodies of the control API: read field by field, refused with the field's name."""

import json
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from cloudsim.model.errors import Refused

Body = Mapping[str, object]
Handler = Callable[[web.Request], Awaitable[web.Response]]


def answering(handle: Callable[[web.Request], Awaitable[Body]]) -> Handler:
    """A refusal is 400 with ``code`` and ``message``."""

    async def answer(request: web.Request) -> web.Response:
        try:
            return web.json_response(await handle(request))
        except Refused as refused:
            return web.json_response({"code": refused.code, "message": refused.message}, status=400)

    return answer


async def read(request: web.Request) -> Body:
    try:
        body = await request.json()
    except json.JSONDecodeError as error:
        raise Refused("InvalidParameterValue", f"the body must be JSON: {error}") from error
    if not isinstance(body, dict):
        raise Refused("InvalidParameterValue", "the body must be a JSON object")
    return body


def text(body: Body, name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise Refused("MissingParameter", f"{name} must be a text, found {value!r}")
    return value


def number(body: Body, name: str, default: float) -> float:
    value = body.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Refused("InvalidParameterValue", f"{name} must be a number, found {value!r}")
    return float(value)


def texts(body: Body, name: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, list):
        raise Refused("InvalidParameterValue", f"{name} must be a list of texts, found {value!r}")
    return tuple(str(item) for item in value)


def mapping(body: Body, name: str) -> Mapping[str, str]:
    value = body.get(name) or {}
    if not isinstance(value, Mapping):
        raise Refused("InvalidParameterValue", f"{name} must be an object of texts, found {value!r}")
    return {str(key): str(item) for key, item in value.items()}
