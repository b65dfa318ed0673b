"""The sections of a report that are words and numbers: what runs differ in, what they reached, and each by itself."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence

from mpidl.analysis.comparison import REDUNDANT, compare, metric_column
from mpidl.analysis.figures.lines import title_of
from mpidl.analysis.groups import RunGroup
from mpidl.analysis.readings import BEST, metric_of
from mpidl.analysis.report.markup import Markup, element, facts, table
from mpidl.analysis.report.runs import one
from mpidl.results import Run
from mpidl.spoken import counted

_ACCURACY = "test_accuracy"
_METRICS = (_ACCURACY, "test_loss", "train_loss", "consensus_distance")


def title(runs: Sequence[Run]) -> str:
    """What to call the page: what is the same in all runs, in a few words."""
    return title_of(runs) or counted(len(runs), "run")


def abstract(runs: Sequence[Run], groups: Sequence[RunGroup[Run]]) -> Markup:
    """The page in a line."""
    settings = f" of {counted(len(groups), 'setting')}" if len(groups) < len(runs) else ""
    first, last = min(run.created for run in runs)[:10], max(run.created for run in runs)[:10]
    begun = first if first == last else f"{first} to {last}"
    statuses = Counter(run.standing for run in runs)
    others = [f"{count} {status}, " for status, count in statuses.items() if status != "finished"]
    return element("p", f"{counted(len(runs), 'run')}{settings}, {''.join(others)}begun {begun}", class_="quiet")


def results(groups: Sequence[RunGroup[Run]]) -> list[Markup]:
    """What sets groups apart, what each has reached, and what is the same in all."""
    runs = [run for group in groups for run in group.runs]
    metrics = [metric for metric in _METRICS if any(not math.isnan(run.last(metric_of(run, metric))) for run in runs)]
    compared = compare(runs, metrics or _METRICS[:1], groups=groups)
    columns = [column for column in compared.columns if column.weight > REDUNDANT]
    if _ACCURACY in metrics:
        last = [column.title for column in columns].index(_ACCURACY.replace("_", " "))
        columns.insert(last + 1, metric_column(groups, _ACCURACY, BEST)._replace(title="at best"))
    models = dict.fromkeys(
        name.removeprefix("test_accuracy_") for run in runs if (name := metric_of(run, _ACCURACY)) in run.metrics
    )
    notes = [f"Accuracy and loss are those of the {' or '.join(models)} model at the end."] if models else []
    if len(groups) < len(runs):
        notes.append("Mean ± sample standard deviation over runs that differ in nothing but their seed.")
    notes += [f"{note[:1].upper()}{note[1:]}." for note in compared.notes]
    return [
        table(
            [column.title for column in columns],
            zip(*(column.cells for column in columns), strict=True),
            {place for place, column in enumerate(columns) if not column.is_text},
        ),
        element("p", " ".join(notes), class_="quiet"),
        element("h3", "In all runs"),
        facts(compared.constant.items()),
    ]


def each_run(groups: Sequence[RunGroup[Run]]) -> Iterator[Markup]:
    """All runs, folded."""
    for group in groups:
        for run in group.runs:
            told = [] if group.label == run.path.stem else [group.label]
            told += [f"seed {run.sections().get('seed')}"] if len(group.runs) > 1 else []
            told += [run.standing] if run.standing != "finished" else []
            yield one(run, f"{run.path.name}{': ' if told else ''}{', '.join(told)}")
