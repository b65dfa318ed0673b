"""Findings in one picture: a row of panels for each kind and run.

Planes are contours with their values written on them, so that the picture survives a grey printer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mpidl.errors import ConfigError, ResultsError, choices_sentence
from mpidl.pictures import new_figure, words
from mpidl.pictures.scales import Limits, divide, linear, logarithmic
from mpidl.pictures.style import GREY, dress, legend_above, line_style
from mpidl.results.findings import Analysis, Findings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Panel = Callable[["Axes", Findings], None]

_WIDTH, _HEIGHT = 4.2, 3.8
_LEVELS = 12
# Agents are numbered in a picture up to so many.
_NUMBERED = 20


def draw(analyses: Sequence[Analysis], kinds: Sequence[str] = ()) -> Figure:
    """One picture of all findings, or of some kinds of them."""
    known = {kind for analysis in analyses for kind in analysis.kinds}
    for kind in kinds:
        if kind not in known:
            raise ConfigError(f"kind {choices_sentence(kind, known)}")
    rows = [
        (analysis, analysis.kinds[kind], panels)
        for kind in _PANELS
        if not kinds or kind in kinds
        for analysis in analyses
        if kind in analysis.kinds and (panels := _panels(analysis.kinds[kind]))
    ]
    if not rows:
        raise ResultsError("nothing to plot: there are no findings that can be drawn")
    columns = max(len(panels) for _, _, panels in rows)
    figure = new_figure(1 + _WIDTH * columns, _HEIGHT * len(rows))
    for (analysis, findings, panels), row in zip(
        rows, figure.subfigures(len(rows), 1, squeeze=False)[:, 0], strict=True
    ):
        row.suptitle(words(_title(analysis, findings)), fontsize=11)
        for panel, axes in zip(panels, row.subplots(1, columns, squeeze=False)[0], strict=False):
            try:
                panel(axes, findings)
            except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
                # Whatever matplotlib says of numbers that no study has written.
                raise ResultsError(f"{str(analysis.path)!r} is damaged: its {findings.kind} cannot be drawn") from error
        for axes in row.axes[len(panels) : columns]:
            axes.set_axis_off()
    return figure


def _title(analysis: Analysis, findings: Findings) -> str:
    """`sharpness of first: consensus after round 120`."""
    settings = findings.settings
    of = f": {settings['model']} after round {settings['round']}" if settings.get("model") else ""
    return f"{findings.kind} of {analysis.run.removesuffix('.h5')}{of}"


def _panels(findings: Findings) -> list[Panel]:
    """Those that the findings have something for."""
    return [panel for needed, panel in _PANELS[findings.kind] if needed in findings]


def _density(axes: Axes, findings: Findings) -> None:
    """The spectrum as Lanczos sees it, with what is known of its upper end."""
    nodes, weights = findings["density_nodes"], findings["density_weights"]
    shown = weights > 1e-12
    axes.vlines(nodes[shown], 1e-12, weights[shown], color=GREY, linewidth=1.2, label="spectrum seen by Lanczos")
    top = findings["hessian_eigenvalues"]
    axes.plot(top, np.full(len(top), 3e-12), label="largest eigenvalues", **line_style(1) | {"linestyle": ""})
    axes.set_yscale("log")
    axes.set_ylim(1e-12, 5)
    trace, error = findings.number("hessian_trace"), findings.number("hessian_trace_error")
    _dress(axes, "eigenvalue", "share of the spectrum", f"Hessian: trace {trace:.3g} ± {error:.1g}")


def _rises(axes: Axes, findings: Findings) -> None:
    """How much the loss rises, by SAM's step and in the agents' directions."""
    bars = {f"SAM\nρ = {findings.number('rho'):g}": (findings.number("sam_sharpness"), 0.0)}
    if "average_direction_sharpness" in findings:
        bars["average\ndirection"] = (
            findings.number("average_direction_sharpness"),
            findings.number("average_direction_sharpness_error"),
        )
        bars["½ Tr(HΞ)"] = (findings.number("average_direction_second_order"), 0.0)
    values, errors = zip(*bars.values(), strict=True)
    axes.bar(list(bars), values, yerr=errors, width=0.5, color=["0.75", "0.55", "0.9"], edgecolor="0.2", capsize=4)
    axes.set_xlim(-0.7, len(bars) - 0.3)
    axes.axhline(0, color="0.2", linewidth=0.8)
    dress(axes, "", "rise of the training loss", f"sharpness at loss {findings.number('loss'):.3g}")


def _smoothing(axes: Axes, findings: Findings) -> None:
    end = findings["stretch_end"]
    for index, (name, label) in enumerate(
        (("gradient_change", "of the loss"), ("averaged_gradient_change", "averaged over agents' covariance"))
    ):
        axes.plot(end, findings[name], label=label, **line_style(index))
    axes.set_ylim(bottom=0)
    _dress_rounds(axes, findings["stretch_end"], "‖Δ gradient‖ / ‖Δ model‖", "smoothness along the trajectory")


def _line(axes: Axes, findings: Findings) -> None:
    for index, part in enumerate(("train", "test")):
        axes.plot(findings["line_share"], findings[f"line_{part}_loss"], label=f"{part} loss", **line_style(index))
    ends = findings.settings.get("line", ["first", "second"])
    axes.set_xticks([0, 0.5, 1])
    axes.set_xticklabels([_folded(ends[0]), "½", _folded(ends[1])])
    _dress(axes, "share of the way", "loss", f"line between models: barrier {findings.number('line_barrier'):.3g}")


def _folded(text: str) -> str:
    """Not wider than a third of a panel."""
    return words(text).replace(" after ", "\nafter ").replace(" of ", "\nof ")


def _random_plane(axes: Axes, findings: Findings) -> None:
    _contours(axes, findings, "random", np.zeros((1, 2)))
    axes.plot(0, 0, color="0.1", marker="*", markersize=11)
    dress(axes, "first direction", "second direction", "training loss, filter-normalised directions")


def _agents_plane(axes: Axes, findings: Findings) -> None:
    from matplotlib.patheffects import withStroke

    positions, held = findings["agents_position"], findings["agents_held_position"]
    _contours(axes, findings, "agents", np.vstack([positions, held]))
    corners = set(findings.settings.get("agents", ()))
    for agent, (across, up) in enumerate(positions):
        axes.plot(across, up, marker="s" if agent in corners else "o", color="0.1", markersize=5)
        if len(positions) <= _NUMBERED:
            name = axes.annotate(str(agent), (across, up), xytext=(4, 4), textcoords="offset points", fontsize=8)
            name.set_path_effects([withStroke(linewidth=2.5, foreground="white")])
    axes.plot(
        *held, color="0.1", marker="*", markersize=11, linestyle="", label=words(str(findings.settings.get("model")))
    )
    axes.legend(frameon=True, fontsize=8, loc="upper left")
    axes.set_aspect("equal")
    dress(axes, "distance", "distance", f"training loss, plane of agents {', '.join(map(str, sorted(corners)))}")


def _contours(axes: Axes, findings: Findings, prefix: str, points: np.ndarray) -> None:
    """Lines of equal loss, with their values where these lie on no point and no edge."""
    across, up, loss = (findings[f"{prefix}_{what}"] for what in ("across", "up", "train_loss"))
    finite = loss[np.isfinite(loss)]
    if not finite.size or finite.min() == finite.max():
        return
    # Equal steps of the logarithm where the loss has one: bowls are then rings of even width.
    low, high = float(finite.min()), float(finite.max())
    levels = np.geomspace(low, high, _LEVELS) if low > 0 else np.linspace(low, high, _LEVELS)
    axes.contourf(across, up, loss, levels=levels, cmap="Greys", alpha=0.45, norm="log" if low > 0 else None)
    lines = axes.contour(across, up, loss, levels=levels[1:-1], colors=GREY, linewidths=0.7)
    for label in axes.clabel(lines, fontsize=7, fmt="%.2g"):
        where = axes.transLimits.transform(label.get_position())
        from_points = np.abs(axes.transLimits.transform(points) - where).max(axis=1)
        label.set_visible(bool((np.abs(where - 0.5) < 0.45).all() and (from_points > 0.09).all()))


def _cosines(axes: Axes, findings: Findings) -> None:
    cosines = findings["cosines"][-1]
    picture = axes.imshow(cosines, cmap="cividis", vmin=-1, vmax=1)
    bar = axes.figure.colorbar(picture, ax=axes, shrink=0.85)
    bar.set_label("cosine")
    divide(axes, "x", Limits(-0.5, len(cosines) - 0.5), whole=True)
    # The first agent on top, as the first row of a matrix.
    divide(axes, "y", Limits(len(cosines) - 0.5, -0.5), whole=True)
    dress(axes, "agent", "agent", f"agents' gradients, round {int(findings['round'][-1])}")
    axes.grid(visible=False)


def _variance(axes: Axes, findings: Findings) -> None:
    for index, (values, label) in enumerate(
        ((findings["gradient_variance"], "T, variance"), (findings["gradient_norm"] ** 2, "‖mean‖²"))
    ):
        axes.plot(findings["round"], values, label=label, **line_style(index))
    every = [findings["gradient_variance"], findings["gradient_norm"] ** 2]
    every = [values[np.isfinite(values)] for values in every]
    divide(axes, "y", logarithmic(every) or linear(every))
    _dress_rounds(axes, findings["round"], "squared norm", "gradients of agents")


def _cosines_over_rounds(axes: Axes, findings: Findings) -> None:
    with_mean = findings["cosine_with_mean"]
    axes.plot(findings["round"], findings["mean_cosine"], label="of pairs of agents, mean", **line_style(0))
    axes.plot(findings["round"], with_mean.mean(1), label="with the mean gradient", **line_style(1))
    axes.fill_between(findings["round"], with_mean.min(1), with_mean.max(1), color="0.6", alpha=0.25)
    axes.axhline(0, color="0.2", linewidth=0.8)
    axes.set_ylim(-1.05, 1.05)
    _dress_rounds(axes, findings["round"], "cosine", "alignment (band: from least to largest)")


def _reliability(axes: Axes, findings: Findings) -> None:
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=0.8, linestyle="--")
    for index, (name, predictor) in enumerate(_PREDICTORS.items()):
        if f"confidence_{name}" in findings:
            error = findings.number(f"calibration_error_{name}")
            label = f"{predictor}: error {error:.3f}"
            confidence, right = findings[f"confidence_{name}"], findings[f"right_{name}"]
            there = np.isfinite(confidence)
            axes.plot(confidence[there], right[there], label=label, **line_style(index))
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.02)
    _dress(axes, "confidence", "share right", "calibration")


_PREDICTORS = {"ensemble": "ensemble", "averaged": "averaged model"}


def _accuracies(axes: Axes, findings: Findings) -> None:
    agents = findings["accuracy_agents"]
    axes.plot(np.arange(len(agents)), 100 * agents, label="single agents", **line_style(2) | {"linestyle": ""})
    for index, (name, predictor) in enumerate(_PREDICTORS.items()):
        if f"accuracy_{name}" in findings:
            line = line_style(index) | {"marker": None}
            axes.axhline(100 * findings.number(f"accuracy_{name}"), label=predictor, **line)
    divide(axes, "x", Limits(-0.5, len(agents) - 0.5), whole=True)
    _dress(axes, "agent", "test accuracy [%]", "together and alone")


def _entropies(axes: Axes, findings: Findings) -> None:
    names = {
        "total": "entropy",
        "of single\nagents": "mean_entropy",
        "mutual\ninformation": "mutual_information",
        "where\nright": "entropy_right",
        "where\nwrong": "entropy_wrong",
    }
    values = [findings.number(name) for name in names.values()]
    axes.bar(
        list(names), np.nan_to_num(values), width=0.6, color=["0.4", "0.6", "0.85", "0.75", "0.75"], edgecolor="0.2"
    )
    axes.tick_params(axis="x", labelsize=8)
    disagreement = findings.number("disagreement")
    dress(axes, "", "entropy [nats]", f"uncertainty; pairs disagree in {100 * disagreement:.3g} %")


def _errors(axes: Axes, findings: Findings) -> None:
    bounds: dict[float, list[str]] = {}
    for index, quantity in enumerate(findings.settings.get("quantities", ())):
        axes.plot(findings["round"], findings[f"error_{quantity}"], label=words(quantity), **line_style(index))
        if f"bound_{quantity}" in findings:
            bounds.setdefault(findings.number(f"bound_{quantity}"), []).append(quantity)
    for bound, quantities in bounds.items():
        of = "" if len(bounds) == 1 else words(f", {', '.join(quantities)}")
        axes.axhline(bound, color="0.3", linewidth=1.0, linestyle=(0, (8, 3)), label=f"bound of theory{of}")
    axes.set_ylim(0, 1.05 * axes.get_ylim()[1])
    _dress_rounds(axes, findings["round"], "‖v − C(v)‖² / ‖v‖²", "lost in packing")


def _dress(axes: Axes, across: str, up: str, title: str) -> None:
    """What the axes show, and what its lines are."""
    dress(axes, across, up)
    legend_above(axes, title, _WIDTH - 0.8)


def _dress_rounds(axes: Axes, rounds: np.ndarray, up: str, title: str) -> None:
    divide(axes, "x", linear([rounds]), whole=True)
    _dress(axes, "round", up, title)


_PANELS: Mapping[str, Sequence[tuple[str, Panel]]] = {
    "sharpness": (
        ("density_nodes", _density),
        ("sam_sharpness", _rises),
        ("gradient_change", _smoothing),
    ),
    "landscape": (
        ("line_share", _line),
        ("random_train_loss", _random_plane),
        ("agents_train_loss", _agents_plane),
    ),
    "alignment": (
        ("cosines", _cosines),
        ("gradient_variance", _variance),
        ("cosine_with_mean", _cosines_over_rounds),
    ),
    "uncertainty": (
        ("confidence_ensemble", _reliability),
        ("accuracy_agents", _accuracies),
        ("entropy", _entropies),
    ),
    "compression": (("round", _errors),),
}
"""By kind, panels with what must have been found for each."""
