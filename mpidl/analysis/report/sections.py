"""The sections of a report that are words and numbers: what runs differ in, what they reached, and each by itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from mpidl.analysis.differences import differences
from mpidl.analysis.figures.lines import lines_of
from mpidl.analysis.groups import RunGroup
from mpidl.analysis.readings import BEST, END, Instant, metric_of, over
from mpidl.analysis.report.markup import Markup, element, facts, table
from mpidl.analysis.report.runs import one
from mpidl.results import Run
from mpidl.spoken import ABSENT, counted, with_deviation

_COLUMNS: Sequence[tuple[str, str, Instant]] = (
    ("test accuracy", "test_accuracy", END),
    ("best", "test_accuracy", BEST),
    ("test loss", "test_loss", END),
    ("training loss", "train_loss", END),
    ("consensus distance", "consensus_distance", END),
    ("rounds", "round", END),
    ("bytes sent", "bytes", END),
    ("time", "seconds", END),
)


def title(runs: Sequence[Run]) -> str:
    """What to call the page: what is the same in all runs, in a few words."""
    return lines_of(runs)[1].title or counted(len(runs), "run")


def abstract(runs: Sequence[Run], groups: Sequence[RunGroup[Run]]) -> Markup:
    """The page in a line."""
    over = sorted({len(group.runs) for group in groups})
    each = f"{over[0]}" if len(over) == 1 else f"{over[0]} to {over[-1]}"
    seeds = "" if over == [1] else f", {each} seeds each"
    when = sorted(run.created for run in runs)
    return element(
        "p",
        f"{counted(len(runs), 'run')} of {counted(len(groups), 'setting')}{seeds}; begun {when[0][:10]}"
        + (f" to {when[-1][:10]}" if when[-1][:10] != when[0][:10] else ""),
        class_="quiet",
    )


def warnings(runs: Sequence[Run]) -> Iterator[str]:
    """What a reader must know before reading any number."""
    statuses = Counter("killed" if run.abandoned else run.status for run in runs)
    others = [f"{count} {status}" for status, count in statuses.items() if status != "finished"]
    if others:
        yield (
            f"Of {counted(len(runs), 'run')}, {', '.join(others)}. Means at the end and at the best are over finished "
            "runs alone."
        )


def settings(runs: Sequence[Run], groups: Sequence[RunGroup[Run]]) -> list[Markup]:
    """What sets groups apart, and what is the same in all."""
    apart = differences([group.runs[0] for group in groups], without=["seed"] if len(groups) < len(runs) else [])
    parts = []
    if apart.columns:
        header = ["setting", *(column.title for column in apart.columns)]
        rows = [[group.name, *(column.cells[place] for column in apart.columns)] for place, group in enumerate(groups)]
        parts.append(table(header, rows, numbers=0))
    else:
        parts.append(element("p", "The runs differ in nothing but their seed." if len(runs) > 1 else "One run."))
    if apart.constant:
        parts += [element("h3", "In common, where it is not as by default"), facts(apart.constant.items())]
    return parts


def results(groups: Sequence[RunGroup[Run]]) -> list[Markup]:
    """What each group has reached: mean and deviation over its runs."""
    several = any(len(group.runs) > 1 for group in groups)
    columns = {heading: [_cell(group, metric, moment) for group in groups] for heading, metric, moment in _COLUMNS}
    shown = {heading: cells for heading, cells in columns.items() if any(cell != ABSENT for cell in cells)}
    counts = [["runs"], [f"{len(group.runs)}" for group in groups]] if several else [[], []]
    header = ["setting", *counts[0], *shown]
    rows = [
        [group.label, *([f"{len(group.runs)}"] if several else []), *(cells[place] for cells in shown.values())]
        for place, group in enumerate(groups)
    ]
    told = [table(header, rows, numbers=len(header) - 1)]
    models = sorted(
        {metric_of(run, "test_accuracy").removeprefix("test_accuracy_") for group in groups for run in group.runs}
    )
    told.append(
        element(
            "p",
            f"Of the {' or '.join(models)} model, at the end of the run unless it says otherwise"
            + ("; mean ± sample standard deviation over runs." if several else "."),
            class_="quiet",
        )
    )
    return told


def each_run(groups: Sequence[RunGroup[Run]]) -> list[Markup]:
    """All runs, folded."""
    return [one(run, _title_of(run, group)) for group in groups for run in group.runs]


def _title_of(run: Run, group: RunGroup[Run]) -> str:
    status = "killed" if run.abandoned else run.status
    seed = run.config.get("seed")
    parts = [
        group.label,
        *([f"seed {seed}"] if len(group.runs) > 1 else []),
        *([status] if status != "finished" else []),
    ]
    return f"{run.path.name}: {', '.join(parts)}" if parts != [run.path.stem] else run.path.name


def _cell(group: RunGroup[Run], metric: str, moment: Instant) -> str:
    name = metric_of(group.runs[0], metric)
    units = group.runs[0].units(name) if name in group.runs[0].metrics else "1"
    found = over(group.runs, metric, moment)
    return with_deviation(found.mean, found.deviation, name, units)
