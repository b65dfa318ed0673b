"""The index of a checkpoint: what it is of, which files it consists of, and each state whole.

    /               attributes: mpidl_checkpoint (the schema), round, rounds (of the run), seconds (of training so far),
                    agents, ranks, created, versions (JSON)
    /config         the configuration, as YAML text
    /files/name, size, sha256
    /state/<state>  the items of all ranks, as a virtual dataset over their files: [agents, P], [edges, P], [P], …;
                    attributes name, kind, dtype, total, lazy
    /ids/<state>    of lazy states, which items there are, in the order in which they stand there
    /edges/<state>  of states of edges, their starts and ends [edges, 2]
    /gone           where agents are gone with their ranks, their numbers; in what is whole, they have NaN or 0

HDF5 shows zeros where a file is missing. So what is not looked at by hand is read by reader.py, which checks all files
first, and takes what it wants from the files of the ranks.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mpidl.declarations import Declaration, Kind
from mpidl.results.checkpoints.parts import MARK, SCHEMA, FileFacts, key_of
from mpidl.results.provenance import utc_now
from mpidl.results.storage import open_file, sync

if TYPE_CHECKING:
    import h5py

INDEX, INDEX_SUM = "index.h5", "index.sha256"


@dataclass(frozen=True)
class Facts:
    """What a checkpoint is of."""

    round: int
    rounds: int
    seconds: float
    agents: int
    config: str
    versions: Mapping[str, str]
    data: Mapping[str, str]
    """What its data are known by, as names and texts; of an older checkpoint nothing."""
    gone: tuple[int, ...] = ()
    """The agents that are gone with their ranks, of which there is no state."""


def write_index(folder: Path, facts: Facts, declared: Sequence[Declaration], files: Sequence[FileFacts]) -> None:
    """Writes the index of a folder that holds the files of all ranks, those of rank 0 first."""
    path = folder / INDEX
    with open_file(path, "w") as file:
        file.attrs.update({MARK: SCHEMA, "round": facts.round, "rounds": facts.rounds, "seconds": facts.seconds})
        file.attrs.update(agents=facts.agents, ranks=len(files), created=utc_now())
        file.attrs["versions"] = json.dumps(dict(facts.versions))
        file["config"], file["data"] = facts.config, json.dumps(dict(facts.data))
        if facts.gone:
            file["gone"] = np.array(facts.gone, dtype=np.int64)
        listed = file.create_group("files")
        listed["name"] = np.array([each.name.encode() for each in files])
        listed["size"] = np.array([each.size for each in files], dtype=np.int64)
        listed["sha256"] = np.array([each.sha256.encode() for each in files])
        held = _held(folder, files, declared)
        for declaration in declared:
            _show(file, declaration, files, held[declaration.name])
    sync(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    with (folder / INDEX_SUM).open("w", encoding="ascii") as told:
        told.write(f"{digest}  {INDEX}\n")
        told.flush()
        os.fsync(told.fileno())


def _held(folder: Path, files: Sequence[FileFacts], declared: Sequence[Declaration]) -> dict[str, list[np.ndarray]]:
    """By state, the ids that each rank's file has."""
    held: dict[str, list[np.ndarray]] = {declaration.name: [] for declaration in declared}
    for each in files:
        with open_file(folder / each.name, "r") as part:
            for name, ids in held.items():
                ids.append(part["ids"][key_of(name)][()])
    return held


def _show(file: h5py.File, declared: Declaration, files: Sequence[FileFacts], held: Sequence[np.ndarray]) -> None:
    """One state whole."""
    import h5py

    key, count = key_of(declared.name), sum(map(len, held)) if declared.lazy else declared.total
    single = declared.kind is Kind.SERVER
    dtype = _stored(declared)
    layout = h5py.VirtualLayout(declared.shape if single else (count, *declared.shape), dtype)
    for each, ids, begin in zip(files, held, np.cumsum([0, *map(len, held)]).tolist(), strict=False):
        source = h5py.VirtualSource(each.name, f"values/{key}", (len(ids), *declared.shape), dtype)
        if single and len(ids):
            layout[...] = source[0]
        # In ascending order, whoever held which; of lazy ones only the touched are there, as the ranks have them.
        for first, last in [] if single else [(0, len(ids))] if declared.lazy else _runs(ids):
            place = begin if declared.lazy else int(ids[first]) if first < len(ids) else 0
            if last > first:
                layout[place : place + last - first] = source[first:last]
    group = file.require_group("state")
    shown = group.create_virtual_dataset(key, layout, fillvalue=np.nan if dtype.kind == "f" else 0)
    told: dict[str, Any] = {"name": declared.name, "kind": str(declared.kind), "total": declared.total}
    shown.attrs.update(told | {"dtype": str(declared.dtype).removeprefix("torch."), "lazy": declared.lazy})
    if declared.lazy:
        file.require_group("ids")[key] = np.concatenate(held)
    if declared.edges:
        file.require_group("edges")[key] = np.array(declared.edges, dtype=np.int64)


def _stored(declared: Declaration) -> np.dtype:
    """The numbers of a state in a file."""
    import torch

    return torch.empty(0, dtype=stored_as(declared.dtype)).numpy().dtype


def stored_as(dtype: Any) -> Any:
    """The dtype of torch whose numbers numpy has, for the same bits."""
    import torch

    return torch.int16 if dtype is torch.bfloat16 else dtype


def _runs(ids: np.ndarray) -> Iterator[tuple[int, int]]:
    """Stretches of ids that follow one another, as (first, last + 1) of their places."""
    edges = [0, *(np.flatnonzero(np.diff(ids) != 1) + 1).tolist(), len(ids)]
    return zip(edges[:-1], edges[1:], strict=True)
