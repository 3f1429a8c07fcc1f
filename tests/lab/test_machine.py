"""What a machine owes those who put nodes on it; on this host's kernel or in the guest."""

import asyncio
import os
from pathlib import Path

import pytest

from lab.machine import CommandFailed, Here, Machine
from lab.probe import has_ipvlan


class Owes:
    """The tests; ``either`` is the machine."""

    async def test_output_input_and_environment(self, either: Machine) -> None:
        """A program gets its input and environment, and its output comes back whole."""
        script = 'cat; printf "%s" "$GREETING"; echo aside >&2'

        said = await either.run("sh", "-c", script, text="one\ntwo\n", environment={"GREETING": "höflich"})

        assert said == "one\ntwo\nhöflich"

    async def test_failure_carries_status_and_words(self, either: Machine) -> None:
        """A program that fails is an error with its status and all it said."""
        with pytest.raises(CommandFailed) as failed:
            await either.run("sh", "-c", "echo out; echo err >&2; exit 7")

        assert failed.value.status == 7
        assert {"out", "err"} <= set(failed.value.text.split())

    async def test_program_lives_as_long_as_its_block(self, either: Machine, tmp_path: Path) -> None:
        """A running program's words arrive in its log while it runs; it and what it began end with its block."""
        nap = f"sleep {os.getpid()}.25"
        log = tmp_path / "log"

        async with either.running("sh", "-c", f"echo begun; {nap} & wait", log=log):
            async with asyncio.timeout(60):
                while not log.exists() or "begun" not in log.read_text():  # noqa: ASYNC110 - another process writes
                    await asyncio.sleep(0.05)
            during = await either.run("pgrep", "--full", f"^{nap}")

        assert len(during.split()) == 1
        async with asyncio.timeout(60):
            while await _runs(either, nap):  # noqa: ASYNC110 - another process ends
                await asyncio.sleep(0.05)

    async def test_program_that_ends_by_itself(self, either: Machine, tmp_path: Path) -> None:
        """Its task says so, with what it said last."""
        async with either.running("sh", "-c", "echo farewell; exit 3", log=tmp_path / "log") as task:
            with pytest.raises(CommandFailed, match="farewell"):
                await asyncio.wait_for(task, 30)


class TestHere(Owes):
    @pytest.fixture
    def either(self) -> Machine:
        return Here()


@pytest.mark.kernel
class TestMachineOfKernelTests(Owes):
    @pytest.fixture
    def either(self, machine: Machine) -> Machine:
        return machine


@pytest.mark.kernel
def test_kernel_tests_have_ipvlan() -> None:
    """A test marked ``kernel`` finds ipvlan, wherever it runs."""
    assert has_ipvlan()


async def _runs(machine: Machine, command: str) -> bool:
    try:
        await machine.run("pgrep", "--full", f"^{command}")
    except CommandFailed:
        return False
    return True
