"""The real operator, which kills itself at a step: ``python -m support.killed_operator --config F --log L --at STEP``.

With ``--stop`` it stops itself there (SIGSTOP), for others to let it go on.
Every step it passes is appended to the log before anything else happens.
"""

import argparse
import asyncio
import os
import signal
from pathlib import Path

from underlay.core.runtime import logging
from underlay.core.runtime.config import load
from underlay.operator.main import until_signal
from underlay.operator.settings import Settings


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--at", default="")
    parser.add_argument("--nth", type=int, default=1)
    parser.add_argument("--stop", action="store_true")
    arguments = parser.parse_args()
    settings = load(Settings, arguments.config)
    logging.configure("underlay-operator", settings.log_level)
    left = arguments.nth

    def checkpoint(label: str) -> None:
        nonlocal left
        with arguments.log.open("a") as log:
            log.write(f"{label}\n")
        if label == arguments.at:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGSTOP if arguments.stop else signal.SIGKILL)

    asyncio.run(until_signal(settings, checkpoint=checkpoint))


if __name__ == "__main__":
    main()
