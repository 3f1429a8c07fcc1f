"""``python -m world demo | up | down``."""

import asyncio
import os
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path

import click

from controlplane.build import BuildFailed
from controlplane.process import ProcessFailed
from controlplane.toolchain import NoGo
from world import record, workload
from world.cloud import CloudRefused
from world.commands import CommandFailed
from world.environment import exports
from world.names import Names
from world.stage import Stage, all_running
from world.world import ROOT, WorldFailed, fresh

INTERRUPTED = 130
_EXPECTED = (BuildFailed, NoGo, WorldFailed, ProcessFailed, CommandFailed, CloudRefused, record.InUse, LookupError)


@click.group()
def main() -> None:
    """A whole small cluster on this machine: real control plane, simulated cloud, nodes as network namespaces."""
    if os.geteuid() != 0:
        raise click.ClickException("this makes network namespaces and links, which only root may: run it as root")


@main.command()
@click.option("--name", default="demo", show_default=True, help="Begins the names of its namespaces and links.")
@click.option("--keep-logs", is_flag=True, help="Leave build/NAME with all logs also after success.")
def demo(name: str, *, keep_logs: bool) -> None:
    """Play the whole story, then remove everything."""
    from world.story import play  # noqa: PLC0415 - up and down draw nothing

    with _reported():
        names = Names(world=name)
        with record.sole(name):
            sys.exit(_run(play(names, ROOT / "build" / name, keep_logs=keep_logs)))


@main.command()
@click.option("--name", default="up", show_default=True, help="Begins the names of its namespaces and links.")
def up(name: str) -> None:
    """Start a world and leave it running; build/NAME/env tells how to use it."""
    with _reported():
        names = Names(world=name)
        with record.sole(name):
            sys.exit(_run(_up(names, ROOT / "build" / name)))


@main.command()
@click.option("--name", default="up", show_default=True)
def down(name: str) -> None:
    """Remove a world, in whatever state it is."""
    with _reported():
        names = Names(world=name)
        with record.sole(name):
            there = asyncio.run(record.remove(names))
        click.echo(f"the world {name!r} is removed" if there else f"there is no world {name!r}")


async def _up(names: Names, folder: Path) -> int:
    env = folder / "env"
    standing = record.load(names.world)
    if standing is not None and env.exists() and all(process.alive() for process in standing.processes):
        click.echo(env.read_text() + f"# this world is up already; `source {env}`, and `make down` removes it")
        return 0
    world = await fresh(names, folder, detached=True)
    try:
        await world.start(lambda text: click.echo(f"{text} ..."))
        provider = await world.apply_provider()
        await world.api.apply(workload.deployment(4))
        click.echo("waiting for the first pods ...")
        await world.api.apply(workload.service(workload.APP, selector={"app": workload.APP}))
        await all_running(Stage(world=world, say=lambda _: None), 4, within_seconds=60)
        env.write_text(exports(world))
    except BaseException as error:
        await record.remove(names, keep_logs=isinstance(error, Exception))
        raise
    finally:
        await world.close()
    click.echo(env.read_text())
    click.echo(f"# It is up, with pods on {world.kind}, the provider {provider!r} and the Deployment {workload.APP!r}.")
    click.echo(f"# `source {env}` for the names above; `make down` removes it.")
    return 0


def _run(played: Coroutine[None, None, int]) -> int:
    """The first Ctrl-C or SIGTERM cancels, and everything is taken down before this returns; later ones are ignored."""

    async def cancellable() -> int:
        task = asyncio.ensure_future(played)
        stopping = False

        def stop() -> None:
            nonlocal stopping
            if not stopping:
                stopping = True
                click.echo("interrupted: everything is being removed", err=True)
                task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, stop)
        try:
            return await task
        except asyncio.CancelledError:
            return INTERRUPTED

    return asyncio.run(cancellable())


class _reported:  # noqa: N801 - reads as a word of the with statement
    """What can go wrong is said in a sentence, without a traceback."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (*_EXPECTED, ValueError)):
            raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main(prog_name="python -m world")
