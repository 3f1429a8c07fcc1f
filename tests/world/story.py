"""The demo: scene after scene until one fails, then the table, then everything is removed."""

import time
from pathlib import Path

from world import record
from world.names import Names
from world.scenes import SCENES
from world.stage import Stage
from world.table import rows
from world.view import View
from world.world import World, fresh


async def play(names: Names, folder: Path, *, keep_logs: bool) -> int:
    """The exit code: 0 when every scene held. Whatever happens, nothing stays but, after a failure, the logs."""
    began = time.monotonic()
    view = View([scene.title for scene in SCENES])
    world = await fresh(names, folder, detached=False)
    stage = Stage(world=world, say=view.say)
    failure: str | None = None
    try:
        failure = await _scenes(stage, view)
        if failure is None:
            view.table(await rows(stage))
        _conclude(view, world, failure, time.monotonic() - began)
    finally:
        await world.close()
        await record.remove(names, keep_logs=keep_logs or failure is not None)
    return 0 if failure is None else 1


async def _scenes(stage: Stage, view: View) -> str | None:
    """What failed, with its scene's title; None when nothing did."""
    with view:
        for scene in SCENES:
            view.begin()
            try:
                outcome = await scene.play(stage)
                stage.world.check_processes()
            except Exception as error:  # noqa: BLE001 - whatever it is, the viewer is told, and the world is removed
                text = str(error) or type(error).__name__
                view.end(text.splitlines()[0], ok=False)
                return f"{scene.title}: {text}"
            view.end(outcome, ok=True)
    return None


def _conclude(view: View, world: World, failure: str | None, seconds: float) -> None:
    if failure is None:
        view.print(f"Everything held, in {seconds:.0f} s. The pods were on {world.kind}.", style="bold green")
    else:
        view.print(f"Failed after {seconds:.0f} s. {failure}\nThe logs stay in {world.logs}.", style="bold red")
