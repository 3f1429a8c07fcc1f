"""``python -m cloudsim``: serve until SIGTERM or SIGINT."""

import argparse
import asyncio
import json
import signal
from pathlib import Path

from cloudsim.server.app import Settings, running
from cloudsim.server.state import LagMode


def main() -> None:
    arguments = _parser().parse_args()
    host, _, port = arguments.listen.rpartition(":")
    settings = Settings(
        host=host,
        port=int(port),
        region=arguments.region,
        fabric=arguments.fabric,
        mtu=arguments.mtu,
        attach_seconds=arguments.attach_seconds,
        lag_seconds=arguments.lag_seconds,
        imds_lag_seconds=arguments.imds_lag_seconds,
        lag_mode=arguments.lag_mode,
        buckets=arguments.buckets,
        time_scale=arguments.time_scale,
        manual_clock=arguments.manual_clock,
        seed=arguments.seed,
    )
    asyncio.run(_serve(settings, arguments.ready_file))


async def _serve(settings: Settings, ready_file: Path | None) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with running(settings) as url:
        if ready_file is not None:
            _announce(ready_file, url)
        print(f"cloudsim: {url}", flush=True)
        await stop.wait()


def _announce(ready_file: Path, url: str) -> None:
    """Whole or not at all, so that a waiting reader never sees half a file."""
    part = ready_file.with_name(ready_file.name + ".part")
    part.write_text(json.dumps({"url": url}), encoding="utf-8")
    part.replace(ready_file)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="cloudsim", description="A strict simulator of the EC2 network API.")
    parser.add_argument("--listen", default="127.0.0.1:0", metavar="HOST:PORT", help="port 0: any free one")
    parser.add_argument("--ready-file", type=Path, help='JSON {"url": …}, written when serving')
    parser.add_argument("--region", default="us-east-1")
    parser.add_argument("--fabric", default="", metavar="URL", help="the process that plugs interfaces into instances")
    parser.add_argument("--mtu", type=int, default=1500, help="of the interfaces in the fabric")
    parser.add_argument("--attach-seconds", type=float, default=0.5, help="how long attaching and detaching take")
    parser.add_argument("--lag-seconds", type=float, default=0.3, help="how far reads lag behind writes")
    parser.add_argument(
        "--imds-lag-seconds", type=float, help="the same for the metadata service; without it, as --lag-seconds says"
    )
    parser.add_argument("--lag-mode", type=LagMode, choices=list(LagMode), default=LagMode.FIXED)
    parser.add_argument("--buckets", action="store_true", help="throttle as EC2 does")
    parser.add_argument("--time-scale", type=float, default=1.0, help="how much faster the buckets refill")
    parser.add_argument("--manual-clock", action="store_true", help="time moves only by POST /_sim/clock")
    parser.add_argument("--seed", type=int, default=0, help="of ids, MACs and addresses")
    return parser


if __name__ == "__main__":
    main()
