"""Models that a run keeps in its file: as they were after some of its rounds, the last among them, and the best.

    /snapshots, /best        attribute records: how many are committed; they are written in turn to as many places as
                             there are (of /best two: the best so far, and room for a better one)
      round                  [place]
      network                JSON: the tensors of a state_dict, and in which row each begins; example_shape, outputs
      constants              bytes of tensors that are the same for all (frozen parameters, masks)
      <model>                [place, P], or [place, agent, P] where each agent has one; the rows of the run
      floats/<model>         the same of floating buffers (BatchNorm statistics), where the network has any
      integers/<model>       the same of whole ones
      sha256/<model>         [place] or [place, agent], of network, constants and rows in this order

All that will be written is allocated with the first, so that later ones change numbers in place and a kill -9 between
two of them harms nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mpidl.layout import FLOATS, INTEGERS, PARAMETERS, Network

if TYPE_CHECKING:
    import h5py

SNAPSHOTS, BEST = GROUPS = ("snapshots", "best")
DIGESTS, NETWORK, CONSTANTS = "sha256", "network", "constants"

Row = Mapping[str, np.ndarray]
"""The numbers of one model, by PARAMETERS, FLOATS and INTEGERS; the last two may be missing."""


@dataclass(frozen=True)
class Form:
    """What models to be kept have in common."""

    network: Network
    constants: np.ndarray
    models: Mapping[str, int | None]
    """By name, how many agents have one of their own; None where all hold the same."""

    @property
    def nbytes(self) -> int:
        """Of all these models after one round."""
        return self.constants.nbytes + sum(self.network.nbytes * (agents or 1) for agents in self.models.values())


class Models(NamedTuple):
    """The models of one moment, by name row after row, as many as the form says."""

    round: int
    rows: Mapping[str, Iterable[Row]]


def create(file: h5py.File, name: str, form: Form, places: int) -> None:
    """Room for so many times these models."""
    group = file.create_group(name)
    group.attrs["records"] = 0
    group[NETWORK] = form.network.to_json()
    if len(form.constants):
        group[CONSTANTS] = form.constants
    _allocate(group, "round", (places,), np.dtype(np.int64))
    for model, agents in form.models.items():
        shape = (places,) if agents is None else (places, agents)
        for row, place in ((PARAMETERS, model), (FLOATS, f"{FLOATS}/{model}"), (INTEGERS, f"{INTEGERS}/{model}")):
            dtype = np.dtype(np.int64 if row == INTEGERS else form.network.dtype)
            if form.network.length(row):
                _allocate(group, place, (*shape, form.network.length(row)), dtype)
        _allocate(group, f"{DIGESTS}/{model}", shape, np.dtype("S64"))


def is_full(file: h5py.File, name: str) -> bool:
    """Whether what is written next takes the place of something."""
    return int(file[name].attrs["records"]) >= len(file[name]["round"])


def enlarge(file: h5py.File, name: str, form: Form, places: int) -> None:
    """Room for so many in all, or at least one more, what is there among them."""
    file.move(name, "former")
    former = file["former"]
    create(file, name, form, max(places, len(former["round"]) + 1))
    for model in ("round", *form.models):
        for each in (model, *(f"{row}/{model}" for row in (FLOATS, INTEGERS, DIGESTS))):
            for place in range(len(former["round"]) if each in former else 0):
                file[name][each][place] = former[each][place]
    file[name].attrs["records"] = former.attrs["records"]
    del file["former"]


def write(file: h5py.File, name: str, form: Form, models: Models) -> None:
    """One more of them; rows are taken one at a time."""
    group = file[name]
    record = int(group.attrs["records"])
    place = record % len(group["round"])
    group["round"][place] = models.round
    common = hashlib.sha256(form.network.to_json().encode())
    common.update(form.constants.data)
    for model, rows in models.rows.items():
        for number, row in enumerate(rows):
            where = (place,) if form.models[model] is None else (place, number)
            digest = common.copy()
            for kind in (PARAMETERS, FLOATS, INTEGERS):
                if form.network.length(kind):
                    group[model if kind == PARAMETERS else f"{kind}/{model}"][where] = row[kind]
                    digest.update(np.ascontiguousarray(row[kind]).data)
            group[f"{DIGESTS}/{model}"][where] = digest.hexdigest().encode()
    # What counts is written after what it counts.
    file.flush()
    group.attrs.modify("records", record + 1)


def cut(file: h5py.File, until_round: int) -> None:
    """Forgets models of later rounds."""
    for group in (file[name] for name in GROUPS if name in file):
        rounds, records = group["round"][()], int(group.attrs["records"])
        kept = records
        while kept and rounds[(kept - 1) % len(rounds)] > until_round:
            kept -= 1
        # Beyond as many as there are places, all were overwritten.
        group.attrs.modify("records", kept if records - kept < len(rounds) else 0)


def newest(file: h5py.File, name: str) -> int | None:
    """The round of the newest models, if there are any."""
    records = int(file[name].attrs["records"]) if name in file else 0
    return int(file[name]["round"][(records - 1) % len(file[name]["round"])]) if records else None


def _allocate(group: h5py.Group, name: str, shape: tuple[int, ...], dtype: np.dtype) -> None:
    import h5py

    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    parent, _, last = name.rpartition("/")
    place = group.require_group(parent) if parent else group
    kind = h5py.h5t.py_create(dtype, logical=True)
    h5py.h5d.create(place.id, last.encode(), kind, h5py.h5s.create_simple(shape), dcpl=layout)
