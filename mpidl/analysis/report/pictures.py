"""The pictures of a report: those of `mpidl plot`, each panel by itself, so that they fit a phone."""

from __future__ import annotations

from collections.abc import Sequence

from mpidl.analysis import figures
from mpidl.analysis.figures import Options
from mpidl.analysis.report.images import picture
from mpidl.analysis.report.markup import Markup, element, folded
from mpidl.errors import MpidlError
from mpidl.results import Run

# Metric, axis and caption of curves; kind and caption of what has metrics of its own.
_CURVES = (
    ("test_accuracy", "epoch", "Test accuracy over epochs."),
    ("test_accuracy", "bytes", "Test accuracy against the bytes that all agents have sent."),
    ("test_loss", "epoch", "Test loss over epochs."),
    ("train_loss", "epoch", "Loss of the mini-batches over epochs."),
    ("consensus_distance", "epoch", "How far agents' models are apart."),
)
_OTHERS = (
    ("spread", "Agents' own models: median and range over agents, and each at the end."),
    ("classes", "Which agent holds how many examples of which class."),
    ("graph", "Who talks with whom, and with which weights."),
    ("timing", "Where the seconds of the ranks went."),
)


def of_runs(runs: Sequence[Run]) -> list[Markup]:
    """All that can be drawn of these runs; last, why what is missing is not."""
    wanted = [("curves", Options((metric,), (axis,), title=""), caption) for metric, axis, caption in _CURVES]
    wanted += [(kind, Options(title=""), caption) for kind, caption in _OTHERS]
    drawn, missing = [], []
    for kind, options, caption in wanted:
        try:
            figure = figures.draw(kind, runs, options)
        except MpidlError as error:
            missing.append(element("li", f"{caption} {error}"))
        else:
            drawn.append(picture(figure, caption))
    parts = [element("div", *drawn, class_="pictures")] if drawn else []
    return [*parts, folded("What is not drawn", element("ul", *missing))] if missing else parts
