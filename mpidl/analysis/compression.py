"""What packing rows has lost in a run, by its records, beside what the compressor's theory allows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mpidl.analysis.settings import part_name
from mpidl.comm.gossip.settings import CROSS_GRADIENTS
from mpidl.compressors import COMPRESSORS
from mpidl.compressors.base import Compressor, Losses
from mpidl.errors import ConfigError
from mpidl.layout import PARAMETERS, Layout, Network
from mpidl.results import Run, models


@dataclass(frozen=True)
class Compression:
    """By quantity, E = ‖v − C(v)‖²/‖v‖² of the rows that agents packed, in the recorded `rounds`.

    `bound`: what theory allows E to be in the mean, 1 − δ of a contraction or ω of an unbiased compressor; None where
    it says nothing, or the run keeps no model by which the lengths of rows were known. A contraction of 1 − E was
    reached.
    """

    rounds: np.ndarray
    errors: Mapping[str, np.ndarray]
    bounds: Mapping[str, float | None]


def of_run(run: Run) -> Compression | None:
    """What the run has recorded of it; None where it packs nothing."""
    names = [name for name in run.metrics if name.startswith(Losses.metric.name)]
    if not names or not run.records:
        return None
    columns = np.array([run.metrics[name] for name in names])
    measured = np.isfinite(columns).any(axis=0)
    if not measured.any():
        return None
    quantities = {name.removeprefix(Losses.metric.name).lstrip("_") or "parameters": name for name in names}
    layout = _layout(run)
    bounds = {quantity: _bound(_compressor(run.config, quantity), layout) for quantity in quantities}
    errors = {quantity: run.metrics[name][measured] for quantity, name in quantities.items()}
    return Compression(run.metrics["round"][measured], errors, bounds)


def _compressor(config: Mapping[str, Any], quantity: str) -> Compressor | None:
    """What packs a quantity, by the run's configuration."""
    section = _under(config, "gossip", "cross_gradients" if quantity == CROSS_GRADIENTS else "compressor")
    section = section or _under(config, "algorithm", "upload", "compressor")
    # One that does not come with mpidl is code, and not run for a bound.
    if section is None or ":" in part_name(section):
        return None
    try:
        return COMPRESSORS.parse(section)
    except ConfigError:
        return None


def _under(config: Mapping[str, Any], *keys: str) -> Any:
    """What stands under these keys, each below the one before; None where nothing does."""
    found: Any = config
    for key in keys:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def _bound(compressor: Compressor | None, layout: Layout | None) -> float | None:
    if compressor is None or layout is None:
        return None
    contraction = compressor.contraction(layout)
    return compressor.variance(layout) if contraction is None else 1 - contraction


def _layout(run: Run) -> Layout | None:
    """Of a row, by what the run keeps of models."""
    if not run.kept:
        return None
    network: Network = models.network(run.path, run.kept[-1])
    # Tensors that share their numbers are one.
    entries = {entry.begin: entry for entry in network.entries if entry.row == PARAMETERS}
    ordered = [entries[begin] for begin in sorted(entries)]
    return Layout(tuple(entry.name for entry in ordered), tuple(entry.shape for entry in ordered))
