"""What is measured, in which order.

    a warm-up round → the whole life of many pods → rounds

A round is, for each number of calls at a time, one batch of ADDs and one of DELs per subject; who comes first changes
from round to round. Every batch has fresh namespaces, and the kernel is done with those of the one before.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from bench import figures, subjects, usage
from bench.calls import Batch, Outcome, Pod, Subject, Verb
from bench.figures import Figures, Samples, Usage
from bench.sandboxes import Sandboxes
from bench.site import MASTER, Say, Site, SiteFailed
from controlplane import audit
from controlplane.audit import Request
from world.names import Names

_LIFE_WIDTH = 8
_NOT_THE_PRODUCT = frozenset({"bench", "kube-apiserver", "kubectl"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """How much is measured. ``batches``: calls at a time → pods of a batch; ``life``: pods followed all their life."""

    rounds: int
    batches: tuple[tuple[int, int], ...] = ((1, 12), (8, 32), (32, 64))
    life: int = 200

    @property
    def pods(self) -> int:
        """The most at any time."""
        return max(self.life, *(pods for _, pods in self.batches))


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """``requests``: to the API server, in the lives of ``life`` pods. ``errors``: what failed calls said."""

    figures: Figures
    requests: Counter[Request]
    life: int
    errors: Sequence[str]


async def measure(names: Names, folder: Path, extent: Extent, say: Say, *, kind: str) -> Report:
    """Everything, on a site of its own that is gone afterwards."""
    site = Site(names, folder, kind=kind, addresses=extent.pods + 20)
    try:
        await site.start(say)
        report = await _Measurement(site, extent, say, kind).run()
    except BaseException:
        await site.close(keep_logs=True)
        raise
    await site.close()
    return report


class _Measurement:
    def __init__(self, site: Site, extent: Extent, say: Say, kind: str) -> None:
        self._site = site
        self._extent = extent
        self._say = say
        self._sandboxes = Sandboxes(site.names)
        self._uids: dict[str, str] = {}
        self._containers = 0
        self._table: dict[tuple[str, Verb, int], Samples] = defaultdict(Samples)
        self._teardown: dict[str, list[float]] = defaultdict(list)
        ours = [
            subjects.underlay(
                launcher=site.launcher, socket=site.node.socket, spool=site.node.spool, coordinator=coordinator
            )
            for coordinator in (True, False)
        ]
        chain = subjects.chain(kind=kind, master=MASTER, folder=site.folder / "host-local")
        self._subjects = (chain, *ours)

    async def run(self) -> Report:
        memory = {"agent_rss_idle_mib": usage.rss_mib(self._site.agent)}
        names = [f"round-{number}" for number in range(max(pods for _, pods in self._extent.batches))]
        self._uids |= await self._site.make_pods(names)
        self._say("warming up")
        await self._round(0)
        warm_up = [error for samples in self._table.values() for error in samples.errors]
        self._table.clear()
        self._teardown.clear()
        lives, requests, life_errors = await self._lives(memory)
        for number in range(1, self._extent.rounds + 1):
            self._say(f"round {number} of {self._extent.rounds}")
            await self._round(number)
        memory |= {
            "agent_rss_end_mib": usage.rss_mib(self._site.agent),
            "operator_rss_end_mib": usage.rss_mib(self._site.operator),
        }
        found = figures.of_calls(self._table)
        ratios = figures.ratios(found, [width for width, _ in self._extent.batches])
        found |= ratios | figures.of_teardown(self._teardown) | figures.of_chain(self._table) | lives | memory
        errors = [error for samples in self._table.values() for error in samples.errors]
        return Report(
            figures={"rounds": self._extent.rounds, **found},
            requests=requests,
            life=self._extent.life,
            errors=[*warm_up, *life_errors, *errors],
        )

    async def _round(self, number: int) -> None:
        first = number % len(self._subjects)
        for width, count in self._extent.batches:
            for subject in self._subjects[first:] + self._subjects[:first]:
                await self._batch(subject, width, list(self._uids)[:count])

    async def _batch(self, subject: Subject, width: int, names: Sequence[str]) -> None:
        paths = await self._sandboxes.make(len(names))
        pods = self._pods(names, paths)
        took = 0.0
        for verb in figures.VERBS:
            outcome = await self._carry_out(subject, verb, width, pods)
            self._table[subject.name, verb, width].take(outcome)
            if subject.name != subjects.CHAIN:
                await self._site.quiet()
            took = outcome.wall_seconds
        took += await self._sandboxes.remove(paths)
        self._teardown[subject.name].append(took / len(names))

    async def _lives(self, memory: Figures) -> tuple[Figures, Counter[Request], list[str]]:
        """Pods from their making to their deletion: what the processes use, what the API server is asked."""
        site, count = self._site, self._extent.life
        self._say(f"the lives of {count} pods")
        names = [f"life-{number}" for number in range(count)]
        await site.quiet()
        log = site.plane.audit_log
        offset = log.stat().st_size
        self._uids |= await site.make_pods(names)
        paths = await self._sandboxes.make(count)
        await site.quiet()
        pods = self._pods(names, paths)
        found: Figures = {}
        errors: list[str] = []
        for verb in figures.VERBS:
            used, outcome = await self._used(verb, pods)
            found |= figures.of_usage(verb, used)
            errors += [call.error for call in outcome.calls if call.error]
            if verb == "ADD":
                memory[f"agent_rss_{count}_pods_mib"] = usage.rss_mib(site.agent)
                memory[f"operator_rss_{count}_pods_mib"] = usage.rss_mib(site.operator)
        await site.delete_pods(names)
        await self._sandboxes.remove(paths)
        await site.quiet()
        for name in names:
            del self._uids[name]
        requests = audit.count(log, offset=offset)
        return found | figures.of_requests(requests, count, ours=_NOT_THE_PRODUCT), requests, errors

    async def _used(self, verb: Verb, pods: tuple[Pod, ...]) -> tuple[Usage, Outcome]:
        site = self._site
        groups = ([site.agent], site.apiserver(), site.etcd(), [site.operator])
        before = [usage.cpu(group) for group in groups]
        outcome = await self._carry_out(self._subjects[1], verb, _LIFE_WIDTH, pods)
        await site.quiet()
        agent, apiserver, etcd, operator = (
            usage.cpu(group) - earlier for group, earlier in zip(groups, before, strict=True)
        )
        launcher = usage.Cpu(user=outcome.user_seconds, system=outcome.system_seconds)
        return Usage(
            calls=len(pods), launcher=launcher, agent=agent, apiserver=apiserver, etcd=etcd, operator=operator
        ), outcome

    async def _carry_out(self, subject: Subject, verb: Verb, width: int, pods: tuple[Pod, ...]) -> Outcome:
        """Raises ``SiteFailed`` where hardly anything succeeds: a fault to be told at once, not a measurement."""
        outcome = await self._site.carry_out(Batch(subject=subject, verb=verb, width=width, pods=pods))
        failed = [call.error for call in outcome.calls if call.error]
        if 2 * len(failed) > len(outcome.calls):
            count = f"{len(failed)} of {len(outcome.calls)}"
            raise SiteFailed(f"{verb} of {subject.name}: {count} calls failed. The first said: {failed[0]}")
        return outcome

    def _pods(self, names: Sequence[str], paths: Sequence[Path]) -> tuple[Pod, ...]:
        """A container of its own for each, as a runtime numbers them."""
        found = []
        for name, path in zip(names, paths, strict=True):
            self._containers += 1
            container = sha256(f"{self._site.names.world} {self._containers}".encode()).hexdigest()
            arguments = {
                "IgnoreUnknown": "1",
                "K8S_POD_NAMESPACE": "default",
                "K8S_POD_NAME": name,
                "K8S_POD_INFRA_CONTAINER_ID": container,
                "K8S_POD_UID": self._uids[name],
            }
            found.append(
                Pod(
                    container=container,
                    netns=str(path),
                    arguments=";".join(f"{key}={value}" for key, value in arguments.items()),
                )
            )
        return tuple(found)
