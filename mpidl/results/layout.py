"""The skeleton of a run file: configuration, provenance, graph, empty tables, and what NeXus viewers look for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mpidl import __version__
from mpidl.results.names import SCALES, SCHEMA_VERSION, SIGNALS
from mpidl.results.provenance import utc_now
from mpidl.results.table import Table

if TYPE_CHECKING:
    import h5py

TABLES = ("metrics", "timing", "events")

# Text that changes while the run goes on has a fixed width, so that it is overwritten in place.
_TEXT_BYTES = 24


def fill(
    file: h5py.File,
    config: Mapping[str, Any],
    provenance: Mapping[str, Any],
    graph: Mapping[str, Any] | None,
    agents: int,
) -> None:
    """Writes everything that is known before training."""
    name = str(config.get("name", ""))
    file.attrs.update(schema_version=SCHEMA_VERSION, mpidl_version=__version__, name=name, agents=agents)
    file.attrs.update(NX_class="NXroot", default="entry", created=utc_now())
    for key, value in {"status": "running", "updated": utc_now(), "finished": ""}.items():
        file.attrs.create(key, np.array(value.encode(), dtype=f"S{_TEXT_BYTES}"))
    file["config"] = as_text(config)
    _store(file.create_group("provenance"), provenance)
    if graph is not None:
        _store(file.create_group("graph"), graph)
    for table_name in TABLES:
        Table.create(file, table_name)
    file["metrics"].attrs["NX_class"] = "NXdata"
    entry = file.create_group("entry")
    entry.attrs.update(NX_class="NXentry", default="data")
    entry["title"] = name
    entry["data"] = _soft_link("/metrics")


def as_text(config: Mapping[str, Any]) -> str:
    """A configuration as it is kept."""
    import yaml

    return yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)


def set_text(file: h5py.File, key: str, text: str) -> None:
    """Overwrites a text attribute of the root in place."""
    file.attrs.modify(key, np.array(text.encode(), dtype=f"S{_TEXT_BYTES}"))


def renew(file: h5py.File, config: Mapping[str, Any] | None, data: Mapping[str, str] | None) -> None:
    """Replaces the configuration, and what the data of the run are known by, where they are given."""
    if config is not None:
        del file["config"]
        file["config"] = as_text(config)
    if data is not None:
        provenance = file["provenance"]
        provenance.pop("data", None)
        _store(provenance.create_group("data"), data)


def connect(metrics: h5py.Group, new: Iterable[str]) -> None:
    """Attaches the scales to new metrics, and names the curve to be shown first."""
    for scale in SCALES:
        if scale in new:
            metrics[scale].make_scale(scale)
    for name in new:
        dataset = metrics[name]
        dataset.dims[0].label = "record"
        if dataset.ndim > 1:
            dataset.dims[1].label = "agent"
        if name not in SCALES:
            for scale in SCALES:
                dataset.dims[0].attach_scale(metrics[scale])
    curves = [name for name in metrics if name not in SCALES and metrics[name].ndim == 1]
    if curves:
        metrics.attrs["signal"] = next((name for name in SIGNALS if name in curves), curves[0])
        metrics.attrs["axes"] = ["round"]


def _soft_link(target: str) -> h5py.SoftLink:
    import h5py

    return h5py.SoftLink(target)


def _store(group: h5py.Group, values: Mapping[str, Any]) -> None:
    """Numbers, texts and lists of texts as attributes, arrays as datasets, mappings as groups."""
    import h5py

    for key, value in values.items():
        if isinstance(value, Mapping):
            _store(group.create_group(key), value)
        elif isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value):
            group.attrs.create(key, list(value), shape=(len(value),), dtype=h5py.string_dtype())
        elif isinstance(value, (list, tuple, np.ndarray)):
            group[key] = np.asarray(value)
        elif value is not None:
            group.attrs[key] = value
