"""Pictures of runs, kind by kind: `draw("curves", runs)` is a figure of matplotlib's, which a notebook shows as it is.

    from mpidl import results
    from mpidl.analysis import figures

    figures.draw("curves", [results.open(path) for path in paths]).savefig("curves.pdf")

`curves`, `spread`, `timing` and `given` draw what a run file tells, `panels` what `mpidl analyze` has found, `flatness`
both beside each other; runs that differ in nothing but their seed are one line (`lines`, `series`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mpidl.errors import ConfigError, choices_sentence

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mpidl.analysis.groups import RunGroup
    from mpidl.results import Run


@dataclass(frozen=True)
class Options:
    """How a picture is to be: what is drawn against what, and its title; empty metrics and axes are those of the kind.

    Runs that differ in nothing but their seed are one line; without `group`, each is one, and with `by`, those that
    have the same values of these keys. `linear` leaves accuracies and losses of curves as they are, on linear axes.
    """

    metrics: tuple[str, ...] = ()
    axes: tuple[str, ...] = ()
    title: str | None = None
    group: bool = True
    by: tuple[str, ...] = ()
    linear: bool = False

    def groups(self, runs: Sequence[Run]) -> list[RunGroup[Run]]:
        """What is one line."""
        from mpidl.analysis.groups import alone, grouped

        return grouped(runs, self.by or None) if self.group else alone(runs)


@dataclass(frozen=True)
class FigureKind:
    """A kind of picture: what it answers, how it is drawn, and what of it can be chosen."""

    answers: str
    draw: Callable[[Sequence[Run], Options], Figure]
    chosen: tuple[str, ...] = ()


def draw(kind: str, runs: Sequence[Run], options: Options = Options()) -> Figure:
    """A picture of these runs."""
    if kind not in KINDS:
        raise ConfigError(choices_sentence(kind, KINDS), "--kind")
    for name in _NAMED:
        if getattr(options, name) and name not in KINDS[kind].chosen:
            able = ", ".join(other for other, each in KINDS.items() if name in each.chosen)
            raise ConfigError(f"{kind} has its own {_NAMED[name]}; they can be chosen for {able}")
    return KINDS[kind].draw(runs, options)


def _curves(metrics: tuple[str, ...] = (), axes: tuple[str, ...] = ()) -> Callable[[Sequence[Run], Options], Figure]:
    def drawn(runs: Sequence[Run], options: Options) -> Figure:
        from mpidl.analysis.figures import curves

        return curves.draw(
            runs,
            options.metrics or metrics or curves.METRICS,
            options.axes or axes or curves.AXES,
            groups=options.groups(runs),
            title=options.title,
            as_they_are=options.linear,
        )

    return drawn


def _spread(runs: Sequence[Run], options: Options) -> Figure:
    from mpidl.analysis.figures import curves, spread

    if len(options.axes) > 1:
        raise ConfigError("the spread of agents has one axis")
    axis = options.axes[0] if options.axes else "round"
    return spread.draw(runs, options.metrics or curves.OWN, axis, groups=options.groups(runs), title=options.title)


def _timing(runs: Sequence[Run], options: Options) -> Figure:
    from mpidl.analysis.figures import timing

    return timing.draw(runs, groups=options.groups(runs), title=options.title)


def _classes(runs: Sequence[Run], options: Options) -> Figure:
    from mpidl.analysis.figures import given

    return given.draw_classes(runs, title=options.title)


def _graph(runs: Sequence[Run], options: Options) -> Figure:
    from mpidl.analysis.figures import given

    return given.draw_graph(runs, title=options.title)


def _flatness(runs: Sequence[Run], options: Options) -> Figure:
    from mpidl.analysis.figures import flatness

    return flatness.draw(runs, options.metrics or flatness.METRICS, groups=options.groups(runs), title=options.title)


_CHOSEN = ("metrics", "axes", "by", "linear")
_NAMED = {"metrics": "metrics", "axes": "axes", "by": "groups", "linear": "scales"}

KINDS: Mapping[str, FigureKind] = {
    "curves": FigureKind(
        "test accuracy, test loss and consensus distance against epochs and bytes", _curves(), _CHOSEN
    ),
    "cost": FigureKind(
        "test accuracy against rounds, bytes and seconds",
        _curves(("test_accuracy",), ("round", "bytes", "seconds")),
        _CHOSEN,
    ),
    "consensus": FigureKind(
        "how far agents' models are apart, over rounds", _curves(("consensus_distance",), ("round",)), _CHOSEN
    ),
    "spread": FigureKind(
        "agents' own models: median and range over agents, and each at the end", _spread, ("metrics", "axes", "by")
    ),
    "classes": FigureKind("which agent holds how many examples of which class; needs the data", _classes),
    "graph": FigureKind("who talks with whom, and with which weights", _graph),
    "flatness": FigureKind("accuracy beside the sharpness that mpidl analyze has found", _flatness, ("metrics", "by")),
    "timing": FigureKind("where the seconds of the ranks went", _timing, ("by",)),
}
"""All kinds by name."""
