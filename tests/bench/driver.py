"""``python -m bench.driver``: plays libcni in the network namespace it is started in. Batches in, outcomes out.

One thread and one ``epoll``: what the driver itself needs of the processors is taken from whom it measures. Per program
that is a pipe each way, one ``posix_spawn`` and one ``wait4``. An ADD's result goes into the next plugin's
configuration and into that of the DEL (CNI 1.1, section 3).
"""

import gc
import os
import select
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

import msgspec

from bench.calls import Batch, Call, Outcome, Plugin, Pod


@dataclass(slots=True)
class _Running:
    """A list being carried out: its program of now, and what that has said."""

    pod: Pod
    rest: Iterator[Plugin]
    began: float
    result: bytes
    pid: int = 0
    said: list[bytes] = field(default_factory=list)


class Driver:
    """Remembers results between the batches, as libcni's cache does."""

    def __init__(self) -> None:
        self._results: dict[tuple[str, str], bytes] = {}

    def carry_out(self, batch: Batch) -> Outcome:
        """The whole batch."""
        return _Round(batch, self._results).run()


class _Round:
    """One batch. ``running``: by the descriptor of the pipe through which the program answers."""

    def __init__(self, batch: Batch, results: dict[tuple[str, str], bytes]) -> None:
        self._batch = batch
        self._results = results
        self._waiting = iter(batch.pods)
        self._running: dict[int, _Running] = {}
        self._poll = select.epoll()
        self._calls: list[Call] = []
        self._user = self._system = 0.0

    def run(self) -> Outcome:
        began = time.perf_counter()
        for pod in islice(self._waiting, self._batch.width):
            self._begin(pod)
        while self._running:
            for descriptor, _ in self._poll.poll():
                if chunk := os.read(descriptor, 65536):
                    self._running[descriptor].said.append(chunk)
                else:
                    self._ended(descriptor)
        wall = time.perf_counter() - began
        self._poll.close()
        return Outcome(
            calls=tuple(self._calls), wall_seconds=wall, user_seconds=self._user, system_seconds=self._system
        )

    def _begin(self, pod: Pod) -> None:
        plugins = self._batch.subject.plugins
        adding = self._batch.verb == "ADD"
        rest = iter(plugins if adding else plugins[::-1])
        result = b"" if adding else self._results.get((self._batch.subject.name, pod.container), b"")
        self._start(_Running(pod=pod, rest=rest, began=time.perf_counter(), result=result), next(rest))

    def _start(self, item: _Running, plugin: Plugin) -> None:
        config = plugin.config.encode()
        if item.result:
            config = config[:-1] + b',"prevResult":' + item.result + b"}"
        stdin, feed = os.pipe()
        answer, stdout = os.pipe()
        os.write(feed, config)  # a pipe takes 64 KiB without a reader
        os.close(feed)
        environment = self._batch.subject.environment | {
            "CNI_COMMAND": self._batch.verb,
            "CNI_CONTAINERID": item.pod.container,
            "CNI_NETNS": item.pod.netns,
            "CNI_IFNAME": "eth0",
            "CNI_ARGS": item.pod.arguments,
        }
        item.said = []
        item.pid = os.posix_spawn(
            plugin.program,
            [plugin.program],
            environment,
            file_actions=[(os.POSIX_SPAWN_DUP2, stdin, 0), (os.POSIX_SPAWN_DUP2, stdout, 1)],
        )
        os.close(stdin)
        os.close(stdout)
        self._running[answer] = item
        self._poll.register(answer, select.EPOLLIN | select.EPOLLHUP)

    def _ended(self, descriptor: int) -> None:
        item = self._running.pop(descriptor)
        _, status, usage = os.wait4(item.pid, 0)
        ended = time.perf_counter()
        self._user += usage.ru_utime
        self._system += usage.ru_stime
        self._poll.unregister(descriptor)  # closing alone would not do: a child on its way to exec has it too
        os.close(descriptor)
        said = b"".join(item.said)
        if not status and self._batch.verb == "ADD":
            item.result = said.strip()
        plugin = None if status else next(item.rest, None)
        if plugin is not None:
            self._start(item, plugin)
            return
        error = (said.decode(errors="replace") or f"exit status {status}") if status else ""
        self._calls.append(Call(seconds=ended - item.began, error=error))
        if not status:
            self._remember(item)
        for pod in islice(self._waiting, 1):
            self._begin(pod)

    def _remember(self, item: _Running) -> None:
        key = (self._batch.subject.name, item.pod.container)
        if self._batch.verb == "ADD":
            self._results[key] = item.result
        else:
            self._results.pop(key, None)


def main() -> None:
    """Until stdin ends."""
    driver = Driver()
    decoder = msgspec.json.Decoder(Batch)
    gc.collect()
    gc.freeze()
    gc.disable()
    for line in sys.stdin.buffer:
        sys.stdout.buffer.write(msgspec.json.encode(driver.carry_out(decoder.decode(line))) + b"\n")
        sys.stdout.buffer.flush()
        gc.collect()


if __name__ == "__main__":
    main()
