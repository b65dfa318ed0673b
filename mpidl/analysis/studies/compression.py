"""What packing has lost in a run, over its records; needs no model."""

from __future__ import annotations

import numpy as np

from mpidl.analysis import compression
from mpidl.analysis.studies.base import number
from mpidl.analysis.subject import Missing
from mpidl.results import Run
from mpidl.results.findings import Finding, Findings, named


def study(run: Run) -> Findings:
    """Errors and the contraction reached, by quantity, and their bounds where theory has them."""
    seen = compression.of_run(run)
    if seen is None:
        raise Missing(f"{str(run.path)!r} has no record of packed rows: nothing was compressed")
    found = [Finding("round", seen.rounds, "rounds", "of which the rows are", ("record",))]
    for quantity, errors in seen.errors.items():
        what = f"mean over agents of ‖v − C(v)‖²/‖v‖², v what they packed of {quantity}"
        found.append(Finding(f"error_{quantity}", errors, "1", what, ("round",)))
        found.append(Finding(f"contraction_{quantity}", 1 - errors, "1", "that was reached: 1 − error", ("round",)))
        found.append(number(f"mean_error_{quantity}", float(np.nanmean(errors)), "over the recorded rounds"))
        bound = seen.bounds[quantity]
        if bound is not None:
            found.append(number(f"bound_{quantity}", bound, "what theory allows the mean error to be"))
    settings = {"run": run.name, "quantities": list(seen.errors), "model": None, "round": int(seen.rounds[-1])}
    return Findings("compression", settings, named(found))
