"""Models that a run keeps in its file, as they were after some of its rounds.

    /snapshots               attribute records: how many are committed; attributes names and shapes of the parameters
    /snapshots/round         [record]
    /snapshots/<model>       [record, P], or [record, agent, P] where each agent has one; the rows of the run

All that will be written is allocated with the first, so that later ones change numbers in place and a kill -9 between
two of them harms nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mpidl.errors import ResultsError
from mpidl.results import checked

if TYPE_CHECKING:
    import h5py

GROUP = "snapshots"


def create(
    file: h5py.File, models: Mapping[str, np.ndarray], parameters: Mapping[str, Sequence[int]], room: int
) -> None:
    """Room for so many snapshots of these models, whose rows hold these parameters by name and shape."""
    import h5py

    group = file.create_group(GROUP)
    group.attrs["records"] = 0
    group.attrs["names"] = json.dumps(list(parameters))
    group.attrs["shapes"] = json.dumps([list(shape) for shape in parameters.values()])
    for name, value in {"round": np.int64(0), **models}.items():
        value = np.asarray(value)
        space = h5py.h5s.create_simple((room, *value.shape))
        layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        kind = h5py.h5t.py_create(value.dtype, logical=True)
        h5py.h5d.create(group.id, name.encode(), kind, space, dcpl=layout)


def write(file: h5py.File, round: int, models: Mapping[str, np.ndarray]) -> None:
    """One more snapshot."""
    group = file[GROUP]
    record = int(group.attrs["records"])
    for name, value in {"round": np.int64(round), **models}.items():
        group[name][record] = value
    # What counts is written after what it counts.
    file.flush()
    group.attrs.modify("records", record + 1)


def cut(file: h5py.File, until_round: int) -> None:
    """Forgets snapshots of later rounds."""
    if GROUP in file:
        group = file[GROUP]
        rounds = group["round"][: int(group.attrs["records"])]
        group.attrs.modify("records", int((rounds <= until_round).sum()))


def latest(path: Path) -> dict[str, np.ndarray]:
    """The parameters, by name, of the newest model in a run file that is not an agent's own."""
    return checked.read(path, lambda root: _latest(path, root))


def _latest(path: Path, root: checked.Group) -> dict[str, np.ndarray]:
    group = root.group(GROUP) if GROUP in root else None
    records = 0 if group is None else group.count("records")
    if group is None or not records:
        raise ResultsError(
            f"{str(path)!r} keeps no model; let that run keep some, with checkpoint.snapshots: 10 epochs"
        )
    names, shapes = (json.loads(group.word(key)) for key in ("names", "shapes"))
    if not all(isinstance(name, str) for name in names) or not all(
        type(size) is int and size >= 0 for size in sum(shapes, [])
    ):
        raise ValueError("its parameters have no names and shapes")
    model = next((name for name, shape in group.columns(3).items() if name != "round" and len(shape) == 2), None)
    if model is None:
        raise ResultsError(f"{str(path)!r} keeps agents' own models only; let it keep the consensus as well")
    row = group.row(model, records - 1)
    edges = np.cumsum([math.prod(shape) for shape in shapes])
    if len(row) != edges[-1]:
        raise ValueError(f"its parameters have {edges[-1]} numbers, and a model {len(row)}")
    pieces = np.split(row, edges[:-1])
    return {name: piece.reshape(shape) for name, piece, shape in zip(names, pieces, shapes, strict=True)}
