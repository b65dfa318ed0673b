"""What a run had reached at a moment: at its end, at its best, with so many rounds, epochs, bytes or seconds spent.

`test_accuracy` and `test_loss` stand for those of the model that stands for the run: the consensus, or the server's. A
metric that agents have a value of each is read as their mean. Nothing is interpolated: what is read was measured.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Self

import numpy as np

from mpidl.errors import ConfigError, choices_sentence, nearest, quoted
from mpidl.results import Glance
from mpidl.results.glance import best_record
from mpidl.results.metrics import WHOLE_RUN, higher_is_better, partner
from mpidl.results.names import SCALES
from mpidl.spoken import amount, counted, duration, number

NAN = float("nan")
# What may follow a number: the scale that it is of, and how many of its units it is.
_UNITS = {
    **dict.fromkeys(("round", "rounds"), ("round", 1.0)),
    **dict.fromkeys(("epoch", "epochs"), ("epoch", 1.0)),
    **{unit: ("bytes", factor) for unit, factor in {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}.items()},
    **{unit: ("seconds", factor) for unit, factor in {"s": 1.0, "min": 60.0, "h": 3600.0}.items()},
}
# What people call moments and units, in small letters, and how they are written here.
_ENDS = {"end": "end", "last": "end", "best": "best"}
_WORDS = {unit.lower(): unit for unit in _UNITS} | {"bytes": "B", "seconds": "s", "minutes": "min", "hours": "h"}


class Instant(NamedTuple):
    """When something is read: at the "end", at the "best", or when so much of a scale (`round`, …) is spent."""

    kind: str
    spent: float = NAN

    @classmethod
    def parse(cls, text: str, key: str = "") -> Self:
        """A moment as it is written: `end`, `best`, `100 rounds`, `5 epochs`, `10 MB`, `60 s`, `2 h`.

        `key` is what an error calls it.
        """
        if text in ("end", "best"):
            return cls(text)
        match = re.fullmatch(r"\s*(\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)\s*([A-Za-z]*)\s*", text)
        if match is None or match[2] not in _UNITS or not math.isfinite(float(match[1])):
            raise ConfigError(
                f"{quoted(text)} is no moment{_meant(text, match)} (end, best, or a budget such as '100 rounds', "
                "'5 epochs', '10 MB', '60 s', '10 min')",
                key,
            )
        scale, factor = _UNITS[match[2]]
        return cls(scale, float(match[1]) * factor)

    def __str__(self) -> str:
        return {
            "round": counted_of(self.spent, "round"),
            "epoch": counted_of(self.spent, "epoch"),
            "bytes": amount(self.spent),
            "seconds": duration(self.spent),
        }.get(self.kind, self.kind)


def _meant(text: str, budget: re.Match[str] | None) -> str:
    """`; did you mean '100 rounds'?`, of 100 or of 100 roudns; nothing where no moment is like it."""
    if budget is None:
        meant = _ENDS.get(nearest(text.strip().lower(), _ENDS) or "")
        return f"; did you mean {meant!r}?" if meant else ""
    unit = _WORDS.get(nearest(budget[2].lower(), _WORDS) or "") if budget[2] else "rounds"
    return f"; did you mean '{budget[1]} {unit}'?" if unit and unit != budget[2] else ""


END, BEST = Instant("end"), Instant("best")


def counted_of(value: float, what: str) -> str:
    """`100 rounds`, `2.5 epochs`."""
    return counted(int(value), what) if value.is_integer() else f"{number(value)} {what}s"


class Reading(NamedTuple):
    """A value, and the record that it is of; NaN and None where there is none."""

    value: float
    record: int | None


NOTHING = Reading(NAN, None)


class Spread(NamedTuple):
    """Mean and sample standard deviation of so many values (`measured`), of a group that has `members` in all.

    The deviation is NaN of fewer than two values.
    """

    mean: float
    deviation: float
    measured: int
    members: int


def metric_of(run: Glance, metric: str) -> str:
    """The full name of a metric of this run: `test_loss` → `test_loss_server`, of the model that stands for it."""
    if metric in run.metrics:
        return metric
    names = [f"{metric}_{model}" for model in WHOLE_RUN]
    return next((name for name in names if name in run.metrics), metric)


def require_known(
    runs: Sequence[Glance], metrics: Sequence[str], key: str = "metric", others: Iterable[str] = ()
) -> None:
    """Refuses what is no metric of any of these runs, and none of the `others` that may be asked for."""
    known = {name for run in runs for name in run.metrics}
    short = {name.removesuffix(f"_{model}") for name in known for model in WHOLE_RUN}
    known |= {*short, "test_accuracy", "test_loss", *others}
    for metric in metrics:
        if metric not in known:
            raise ConfigError(choices_sentence(metric, known), key)


def read(run: Glance, metric: str, moment: Instant = END) -> Reading:
    """A metric of a run at a moment.

    At the end it is of the last record in which it was measured; of a loss that is no longer a number while the
    accuracy beside it was measured, that is NaN. At its best it is the largest accuracy, the smallest of anything else.
    With a budget it is the last that was measured when no more than that was spent, and NaN where a run has ended, or
    stands, before the budget was: what it would have had is not known.
    """
    name = metric_of(run, metric)
    if name not in run.metrics or not run.records:
        return NOTHING
    values = run.curve(name)
    if moment.kind == "end":
        measured = np.flatnonzero(~np.isnan(values) | ~np.isnan(_beside(run, name)))
    elif moment.kind == "best":
        best = best_record(name, values)
        measured = np.array([] if best is None else [best], dtype=int)
    else:
        spent = run.metrics[moment.kind].astype(float)
        if not np.nanmax(spent, initial=-np.inf) >= moment.spent:
            return NOTHING
        measured = np.flatnonzero((spent <= moment.spent) & ~np.isnan(values))
    return Reading(float(values[measured[-1]]), int(measured[-1])) if len(measured) else NOTHING


def first_reaching(run: Glance, metric: str, target: float) -> Reading:
    """The first record in which a metric is at least the target, an accuracy, or at most, anything else."""
    name = metric_of(run, metric)
    if name not in run.metrics:
        return NOTHING
    values = run.curve(name)
    reached = np.flatnonzero(values >= target if higher_is_better(name) else values <= target)
    return Reading(float(values[reached[0]]), int(reached[0])) if len(reached) else NOTHING


def spent(run: Glance, scale: str, record: int | None) -> float:
    """How many rounds, epochs, bytes or seconds a record came after; NaN for no record."""
    if scale not in SCALES:
        raise ConfigError(choices_sentence(scale, SCALES))
    return NAN if record is None else float(run.metrics[scale][record])


def spread(values: Sequence[float]) -> Spread:
    """Mean and sample standard deviation (with n − 1) of those of these values that are finite."""
    finite = np.array([value for value in values if math.isfinite(value)], dtype=float)
    count = len(finite)
    if count and (finite == finite[0]).all():
        # Rounding would make a mean of its own of them.
        return Spread(float(finite[0]), 0.0 if count > 1 else NAN, count, len(values))
    # Of large values the sum is beyond what a float holds.
    with np.errstate(over="ignore", invalid="ignore"):
        mean, deviation = (float(finite.mean()), float(finite.std(ddof=1))) if count else (NAN, NAN)
    return Spread(mean, deviation, count, len(values))


def over(runs: Sequence[Glance], metric: str, moment: Instant = END) -> Spread:
    """A metric over a group of runs at a moment.

    At the end and at the best only runs that have finished count, since others, which have diverged or still run, have
    no end: `measured` of `members` says how many. A run alone is read as it stands. With a budget those count that came
    so far.
    """
    values = [read(run, metric, moment).value for run in runs]
    return spread(counting(runs, values, moment))


def counting(runs: Sequence[Glance], values: Sequence[float], moment: Instant = END) -> list[float]:
    """These values of a group's members, NaN of those that do not count in a mean at this moment (see `over`)."""
    if len(runs) == 1 or moment.kind in SCALES:
        return list(values)
    return [value if run.status == "finished" else NAN for run, value in zip(runs, values, strict=True)]


def _beside(run: Glance, name: str) -> np.ndarray:
    """What is measured together with this accuracy or loss; NaN where nothing is."""
    return run.curve(partner(name)) if partner(name) in run.metrics else np.full(run.records, np.nan)
