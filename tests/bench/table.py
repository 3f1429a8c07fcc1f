"""What a person reads."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from bench.cni import Report
from bench.figures import STATISTICS, VERBS, load
from bench.subjects import CHAIN, SUBJECTS, UNDERLAY, WITHOUT_COORDINATOR

_WORDS = {
    CHAIN: "chain",
    UNDERLAY: "Underlay",
    WITHOUT_COORDINATOR: "Underlay, no coordinator",
}
_ERRORS_SHOWN = 5


def show(console: Console, report: Report, *, kind: str, widths: Sequence[int]) -> None:
    """All tables."""
    found = report.figures
    console.print(f"\nchain: Debian's {kind} + host-local + tuning + sbr. Ratios above 1: Underlay is better.\n")
    console.print(_latencies(found, widths))
    console.print(_cpu(found))
    console.print(_requests(report))
    rows = [
        (key.removesuffix("_mib").replace("_", " "), f"{value:.1f} MiB") for key, value in found.items() if "rss" in key
    ]
    console.print(_plain("resident memory", rows))
    if report.errors:
        console.print(f"[red]{len(report.errors)} calls failed[/red]; the first said:")
        for error in report.errors[:_ERRORS_SHOWN]:
            console.print(f"  {error.strip()}", markup=False)


def _latencies(found: Mapping[str, float], widths: Sequence[int]) -> Table:
    table = Table(title="CNI calls, from exec to answer (ms)", title_justify="left")
    for column in ("", "at a time", "", *STATISTICS, "per second", "median ratio", "throughput ratio"):
        table.add_column(column, justify="left" if not column else "right")
    for verb in VERBS:
        for width in widths:
            for subject in SUBJECTS:
                tail = f"{verb.lower()}_{load(width)}"
                name = f"{subject}_{tail}"
                suffix = "_without_coordinator" if subject == WITHOUT_COORDINATOR else ""
                ratios = ("", "")
                if subject != CHAIN:
                    ratios = (
                        f"{found[f'{tail}_median_ratio{suffix}']:.2f}",
                        f"{found[f'{tail}_throughput_ratio{suffix}']:.2f}",
                    )
                first = subject == CHAIN
                table.add_row(
                    verb if first else "",
                    str(width) if first else "",
                    _WORDS[subject],
                    *(f"{found[f'{name}_{statistic}_ms']:.2f}" for statistic in STATISTICS),
                    f"{found[f'{name}_per_second']:.0f}",
                    *ratios,
                    end_section=subject == SUBJECTS[-1],
                )
    return table


def _cpu(found: Mapping[str, float]) -> Table:
    parts = ("launcher", "python", "kernel", "apiserver", "etcd", "operator")
    table = Table(
        title="CPU time per call (ms) without the kernel's own threads; teardown: until the namespace is gone",
        title_justify="left",
    )
    for column in ("", "on the node", *parts, "teardown"):
        table.add_column(column, justify="left" if not column else "right")
    for verb in VERBS:
        name = f"cpu_per_{verb.lower()}"
        torn = [f"{found[f'{s}_teardown_per_pod_ms']:.2f}" if verb == "DEL" else "" for s in (CHAIN, UNDERLAY)]
        chain = found[f"{CHAIN}_{name}_kernel_ms"]
        table.add_row(
            f"{verb} chain", f"{found[f'{CHAIN}_{name}_ms']:.2f}", "", "", f"{chain:.2f}", "", "", "", torn[0]
        )
        split = [f"{found[f'{name}_{part}_ms']:.2f}" for part in parts]
        table.add_row(f"{verb} Underlay", f"{found[f'{name}_ms']:.2f}", *split, torn[1], end_section=True)
    return table


def _requests(report: Report) -> Table:
    rows = [
        (f"{request.user_agent} {request.verb} {request.resource} {request.code}", f"{count / report.life:.3f}")
        for request, count in sorted(report.requests.items())
        if request.user_agent.startswith("underlay")
    ]
    return _plain(f"requests to the API server per pod life ({report.life} pods)", rows)


def _plain(title: str, rows: Sequence[tuple[str, str]]) -> Table:
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for row in rows:
        table.add_row(*row)
    return table
