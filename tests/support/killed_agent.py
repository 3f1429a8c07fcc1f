"""The real agent, made to die: ``python -m support.killed_agent --config FILE [--at LABEL --pass N]``.

It kills itself with SIGKILL when it passes checkpoint LABEL for the Nth time; nothing of it runs after that. On stdout
it says "ready" once it serves, and last of all where it died.
"""

import argparse
import asyncio
import os
import signal
from collections import Counter
from pathlib import Path

from underlay.cni.main import run
from underlay.cni.settings import Settings
from underlay.core.runtime.checkpoints import Checkpoint, passing
from underlay.core.runtime.config import load
from underlay.core.runtime.logging import configure


def _say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


def deadly(at: str, count: int) -> Checkpoint:
    passed = Counter[str]()

    def checkpoint(label: str) -> None:
        passed[label] += 1
        if label == at and passed[label] == count:
            _say(f"killed at {label} pass {count}")
            os.kill(os.getpid(), signal.SIGKILL)

    return checkpoint


def main() -> None:
    parser = argparse.ArgumentParser(prog="killed_agent")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--at", default="")
    parser.add_argument("--pass", type=int, default=1, dest="count")
    arguments = parser.parse_args()
    settings = load(Settings, arguments.config)
    configure("underlay-agent", settings.log_level)
    checkpoint = deadly(arguments.at, arguments.count) if arguments.at else passing
    asyncio.run(run(settings, checkpoint=checkpoint, ready=lambda: _say("ready")))


if __name__ == "__main__":
    main()
