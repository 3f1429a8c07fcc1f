"""A stand-in before the API server: it answers lists and watches of all pods with synthetic ones, and hands everything
else through.

``python -m bench.pod_source --kubeconfig FILE --pods N --nodes N --ready-file FILE`` serves plain HTTP on loopback and
writes its address into the file. It is a process of its own, so that its work is not the operator's.
"""

import asyncio
import ssl
from contextlib import suppress
from pathlib import Path

import aiohttp
import click
from aiohttp import web

from bench.synthetic_pods import VERSION, Cluster
from underlay.core.kube.access import access

_HOP = frozenset({"connection", "content-length", "host", "keep-alive", "transfer-encoding"})
_LONGEST_BODY = 64 * 1024 * 1024


class PodSource:
    """The two halves."""

    def __init__(self, cluster: Cluster, upstream: str, session: aiohttp.ClientSession) -> None:
        self._cluster = cluster
        self._upstream = upstream
        self._session = session

    async def pods(self, request: web.Request) -> web.StreamResponse:
        """``/api/v1/pods``: pages as asked for; a watch in which nothing happens."""
        if request.query.get("watch"):
            reply = web.StreamResponse(headers={"Content-Type": "application/json"})
            await reply.prepare(request)
            await reply.write(
                b'{"type":"BOOKMARK","object":{"kind":"Pod","apiVersion":"v1","metadata":{"resourceVersion":"%s"}}}\n'
                % VERSION.encode()
            )
            await asyncio.sleep(float(request.query.get("timeoutSeconds", "300")))
            return reply
        start, limit = int(request.query.get("continue") or 0), int(request.query.get("limit") or 0)
        page = self._cluster.page(start, limit)
        return web.Response(body=page, content_type="application/json")

    async def others(self, request: web.Request) -> web.StreamResponse:
        """Through to the API server and back, piece by piece."""
        kept = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
        body = await request.read()
        async with self._session.request(
            request.method, self._upstream + request.raw_path, headers=kept, data=body or None
        ) as answer:
            headers = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP}
            reply = web.StreamResponse(status=answer.status, headers=headers)
            await reply.prepare(request)
            with suppress(ConnectionResetError, aiohttp.ClientError):  # one of the two has left
                async for piece in answer.content.iter_any():
                    await reply.write(piece)
        return reply


async def serve(kubeconfig: Path, cluster: Cluster, ready: Path) -> None:
    """Until cancelled."""
    found = access(kubeconfig)
    connector = aiohttp.TCPConnector(limit=0, ssl=ssl.create_default_context(cadata=found.authority))
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False) as session:
        source = PodSource(cluster, found.server, session)
        app = web.Application(client_max_size=_LONGEST_BODY)
        app.router.add_get("/api/v1/pods", source.pods)
        app.router.add_route("*", "/{rest:.*}", source.others)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port, *_ = runner.addresses[0]
        await asyncio.to_thread(ready.write_text, f"http://{host}:{port}")
        await asyncio.Event().wait()


@click.command()
@click.option("--kubeconfig", required=True, type=click.Path(path_type=Path))
@click.option("--pods", required=True, type=int)
@click.option("--nodes", required=True, type=int)
@click.option("--ready-file", required=True, type=click.Path(path_type=Path))
def main(kubeconfig: Path, pods: int, nodes: int, ready_file: Path) -> None:
    """See the module."""
    asyncio.run(serve(kubeconfig, Cluster(pods=pods, nodes=nodes), ready_file))


if __name__ == "__main__":
    main()
