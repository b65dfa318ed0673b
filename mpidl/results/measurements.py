"""Files of measurements that belong to no run: one dataset per column, with units, a description, and where taken."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mpidl.errors import SaveError
from mpidl.metrics import Metric
from mpidl.results.checked import is_marked
from mpidl.results.storage import open_file

_MARK = "mpidl_measurements"


def is_measurements(path: Path) -> bool:
    """Whether this is a file that `write` wrote."""
    return is_marked(path, _MARK)


def write(
    path: str | Path,
    group: str,
    columns: Mapping[str, Sequence[Any]],
    metrics: Sequence[Metric],
    provenance: Mapping[str, Any],
) -> None:
    """Writes columns of equal length to `/<group>/<name>`; a file that exists is replaced once the new one is whole."""
    import h5py

    path = Path(path)
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open_file(part, "w") as file:
            file.attrs[_MARK] = 1
            file.attrs["provenance"] = json.dumps(dict(provenance))
            place = file.create_group(group)
            for metric in metrics:
                values = columns[metric.name]
                text = any(isinstance(value, str) for value in values)
                dataset = place.create_dataset(
                    metric.name,
                    data=list(values) if text else np.asarray(values),
                    dtype=h5py.string_dtype() if text else None,
                )
                dataset.attrs.update(units=metric.units, description=metric.description)
        part.replace(path)
    except OSError as error:
        raise SaveError(f"the measurements could not be written to {str(path)!r}: {error.strerror or error}") from error
