"""``python -m bench [cni | datapath | cloud]``."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console

from bench.cni import Extent, measure
from bench.site import ROOT, SiteFailed
from bench.subjects import REFERENCE_PLUGINS
from bench.table import show
from controlplane.build import BuildFailed
from controlplane.process import ProcessFailed
from controlplane.progress import Note, step
from controlplane.toolchain import NoGo
from world import record
from world.api import ApiError
from world.cloud import CloudRefused
from world.commands import CommandFailed
from world.names import Names

T = TypeVar("T")

_EXPECTED = (
    ApiError,
    BuildFailed,
    CloudRefused,
    CommandFailed,
    LookupError,
    NoGo,
    ProcessFailed,
    SiteFailed,
    record.InUse,
)
_CLOUD_PARTS = ("interface", "prefix", "reaction", "scale")
_INTERRUPTED = 130
_WIDTH = 120


@click.group(invoke_without_command=True)
@click.pass_context
def main(context: click.Context) -> None:
    """How long CNI calls and the operator's cloud calls take. Without a command: cni."""
    if os.geteuid() != 0 and context.invoked_subcommand != "cloud":
        raise click.ClickException("this makes network namespaces and links, which only root may: run it as root")
    if context.invoked_subcommand is None:
        context.invoke(cni)


@main.command()
@click.option(
    "--rounds", default=6, show_default=True, type=click.IntRange(min=1), help="More take longer and say more."
)
@click.option("--kind", default="macvlan", show_default=True, type=click.Choice(["macvlan", "ipvlan"]))
@click.option("--name", default="bench", show_default=True, help="Begins the names of its namespaces and links.")
def cni(rounds: int, kind: str, name: str) -> None:
    """ADD and DEL of Underlay beside Debian's reference plugins; figures in build/bench/cni.json."""
    if not (REFERENCE_PLUGINS / "macvlan").exists():
        raise click.ClickException(
            f"{REFERENCE_PLUGINS} lacks Debian's containernetworking-plugins: `make setup` gets it"
        )
    extent = Extent(rounds=rounds)
    try:
        names = Names(world=name)
        with record.sole(name), step("measuring CNI calls") as note:
            report = _run(measure(names, ROOT / "build" / "bench" / "site", extent, note, kind=kind))
    except (*_EXPECTED, ValueError) as error:
        raise click.ClickException(str(error)) from error
    show(_console(), report, kind=kind, widths=[width for width, _ in extent.batches])
    click.echo(f"all figures: {write('cni', report.figures)}")
    sys.exit(1 if report.errors else 0)


@main.command()
@click.option("--count", default=300, show_default=True, type=click.IntRange(min=2), help="Attachments per way.")
def datapath(count: int) -> None:
    """Attach and detach without agent and journal: one batch per namespace beside one message per send."""
    from bench.datapath import KERNEL_ONLY, loop  # noqa: PLC0415 - only this command needs the datapath's libraries

    found = _run(loop(count))
    for key, value in found.items():
        click.echo(f"{key:45} {value:10.3f}")
    click.echo(f"{KERNEL_ONLY}\nall figures: {write('datapath', found)}")


@main.command()
@click.option(
    "--nodes", "sizes", multiple=True, default=(100, 300, 1000), show_default=True, type=click.IntRange(min=1)
)
@click.option(
    "--part",
    "parts",
    multiple=True,
    default=_CLOUD_PARTS,
    show_default=True,
    type=click.Choice(_CLOUD_PARTS),
    help="What is measured.",
)
@click.option(
    "--attach-seconds",
    default=0.5,
    show_default=True,
    type=click.FloatRange(min=0),
    help="How long an attachment takes at the cloud.",
)
@click.option("--scale-nodes", default=5000, show_default=True, type=click.IntRange(min=1), help="Of part scale.")
@click.option("--scale-pods", default=150_000, show_default=True, type=click.IntRange(min=1), help="Of part scale.")
def cloud(
    sizes: tuple[int, ...], parts: tuple[str, ...], attach_seconds: float, scale_nodes: int, scale_pods: int
) -> None:
    """New interfaces or prefixes for many nodes at once under EC2's throttling, the reaction to one pod, and the
    operator in a large cluster; figures in build/bench/cloud.json.

    --nodes and --part may be given several times. 1000 nodes take minutes.
    """
    # only this command needs the operator's libraries
    from bench import cloud as clouds  # noqa: PLC0415
    from bench import reaction, scale  # noqa: PLC0415
    from bench.cloud_table import show as show_clouds  # noqa: PLC0415

    folder = ROOT / "build" / "bench" / "cloud"
    runs: list[tuple[str, Callable[[Note], Coroutine[Any, Any, dict[str, float]]]]] = []
    supplies = [supply for supply in clouds.SUPPLIES if supply.name in parts]
    for supply in supplies:
        for size in sizes:
            supplied = partial(clouds.measure, folder, supply, size, attach_seconds=attach_seconds)
            runs.append((f"{size} nodes, one {supply.name} each", supplied))
    if "reaction" in parts:
        runs.append(("reaction to a pod", partial(reaction.measure, folder)))
    if "scale" in parts:
        large = partial(scale.measure, folder, nodes=scale_nodes, pods=scale_pods)
        runs.append((f"{scale_nodes} nodes, {scale_pods} pods", large))
    found: dict[str, float] = {}
    for what, run in runs:
        try:
            with step(what) as note:
                found |= _run(run(note))
        except _EXPECTED as error:
            raise click.ClickException(f"{what}: {error}") from error
        file = write("cloud", found)
    show_clouds(_console(), found, supplies, sizes)
    click.echo(f"all figures: {file}")


def write(name: str, figures: Mapping[str, float]) -> Path:
    """``build/bench/<name>.json``: one flat object."""
    file = ROOT / "build" / "bench" / f"{name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({key: round(value, 4) for key, value in figures.items()}, indent=2) + "\n")
    return file


def _console() -> Console:
    """Wide enough for the tables also where there is no terminal."""
    console = Console()
    return console if console.is_terminal else Console(width=_WIDTH)


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Ctrl-C and SIGTERM cancel; what was made is then taken down before this returns."""

    async def cancellable() -> T:
        task = asyncio.ensure_future(work)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, task.cancel)
        try:
            return await task
        except asyncio.CancelledError:
            click.echo("interrupted; everything is removed", err=True)
            sys.exit(_INTERRUPTED)

    return asyncio.run(cancellable())


if __name__ == "__main__":
    main(prog_name="python -m bench")
