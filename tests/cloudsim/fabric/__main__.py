"""``python -m cloudsim.fabric --listen 127.0.0.1:0 --ready-file F --name PREFIX``: one VPC until SIGTERM or Ctrl-C."""

import argparse
import asyncio
import json
import signal
from pathlib import Path

from aiohttp import web

from cloudsim.fabric.server import application
from cloudsim.fabric.vpc import Vpc


async def serve(*, name: str, host: str, port: int, ready_file: Path | None) -> None:
    """Run until a signal; ``ready_file`` then holds {"url": …} and appears whole."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    vpc = Vpc(name)
    runner = web.AppRunner(application(vpc), access_log=None)
    try:
        await vpc.start()
        await runner.setup()
        await web.TCPSite(runner, host, port).start()
        url = f"http://{host}:{runner.addresses[0][1]}"
        if ready_file is not None:
            _write_whole(ready_file, json.dumps({"url": url}))
        print(url, flush=True)
        await stop.wait()
    finally:
        await runner.cleanup()
        await vpc.close()


def main() -> None:
    """Parse the flags and serve."""
    parser = argparse.ArgumentParser(prog="python -m cloudsim.fabric", description="The simulated VPC of one world.")
    parser.add_argument("--listen", default="127.0.0.1:0", metavar="HOST:PORT")
    parser.add_argument("--ready-file", type=Path)
    parser.add_argument("--name", required=True, help="prefix of the namespace; at most one fabric per name")
    flags = parser.parse_args()
    host, _, port = flags.listen.rpartition(":")
    asyncio.run(serve(name=flags.name, host=host, port=int(port), ready_file=flags.ready_file))


def _write_whole(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(text)
    part.replace(path)


if __name__ == "__main__":
    main()
