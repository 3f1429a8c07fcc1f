"""The fabric's HTTP interface.

    PUT    /interfaces/<eni>        attach or update (body: ``model.Interface``)
    DELETE /interfaces/<eni>        detach; also when it is not there
    PUT    /interfaces/<eni>/macs   {address: MAC}: senders with a MAC of their own; replaces the ones told before
    PATCH  /macs                    {address: MAC or null}: the same for some addresses of whichever interfaces
    GET    /interfaces              what is attached
    GET    /drops                   {eni: {"unassigned_source": frames, "foreign_mac": frames}}

400 names the wrong field, 404 an unknown interface, 409 carries what the kernel said.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import msgspec
from aiohttp import web

from cloudsim.fabric.model import Address, Interface
from cloudsim.fabric.vpc import Refused, Vpc


def application(vpc: Vpc) -> web.Application:
    """The routes over ``vpc``; the caller starts and closes it."""
    app = web.Application()
    routes = _Routes(vpc)
    app.router.add_put("/interfaces/{eni}", routes.put)
    app.router.add_delete("/interfaces/{eni}", routes.delete)
    app.router.add_put("/interfaces/{eni}/macs", routes.put_macs)
    app.router.add_patch("/macs", routes.patch_macs)
    app.router.add_get("/interfaces", routes.interfaces)
    app.router.add_get("/drops", routes.drops)
    return app


class _Routes:
    def __init__(self, vpc: Vpc) -> None:
        self._vpc = vpc

    async def put(self, request: web.Request) -> web.Response:
        try:
            await self._vpc.put(request.match_info["eni"], _parse_interface(await request.read()))
        except (msgspec.DecodeError, ValueError) as wrong:
            return web.Response(status=400, text=str(wrong))
        except Refused as refused:
            return web.Response(status=409, text=str(refused))
        return web.Response(status=204)

    async def delete(self, request: web.Request) -> web.Response:
        await self._vpc.delete(request.match_info["eni"])
        return web.Response(status=204)

    async def put_macs(self, request: web.Request) -> web.Response:
        try:
            told = _parse_macs(await request.read())
            await self._vpc.put_macs(request.match_info["eni"], {a: mac for a, mac in told.items() if mac is not None})
        except (msgspec.DecodeError, ValueError) as wrong:
            return web.Response(status=400, text=str(wrong))
        except KeyError:
            return web.Response(status=404, text=f"no interface {request.match_info['eni']} is attached")
        except Refused as refused:
            return web.Response(status=409, text=str(refused))
        return web.Response(status=204)

    async def patch_macs(self, request: web.Request) -> web.Response:
        try:
            await self._vpc.patch_macs(_parse_macs(await request.read()))
        except (msgspec.DecodeError, ValueError) as wrong:
            return web.Response(status=400, text=str(wrong))
        except KeyError as unknown:
            return web.Response(status=404, text=f"no interface has {unknown.args[0]}")
        except Refused as refused:
            return web.Response(status=409, text=str(refused))
        return web.Response(status=204)

    async def interfaces(self, _: web.Request) -> web.Response:
        return _json(self._vpc.interfaces)

    async def drops(self, _: web.Request) -> web.Response:
        return _json(await self._vpc.drops())


def _json(value: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(value, enc_hook=str), content_type="application/json")


def _parse_interface(body: bytes) -> Interface:
    return msgspec.json.decode(body, type=Interface, dec_hook=_address)


def _parse_macs(body: bytes) -> dict[Address, str | None]:
    return {ip_address(key): mac for key, mac in msgspec.json.decode(body, type=dict[str, str | None]).items()}


def _address(kind: type, text: object) -> object:
    """Decoding hook for the address types."""
    if kind in (IPv4Address, IPv4Network, IPv6Address, IPv6Network):
        return kind(text)
    raise NotImplementedError(kind)
