"""Run files that claim what is not so, each by one change to a sound one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from mpidl.results.run_file import RunFile
from mpidl.results.snapshots import SNAPSHOTS
from tests.results.conftest import AGENTS, CONFIG, GRAPH
from tests.results.kept import FORM, NETWORK, models

Change = Callable[[h5py.File], object]


def write_sound(path: Path) -> Path:
    """A run file with all that one can have."""
    facts = {"hosts": ["a", "b"], "argv": ["mpidl", "run"], "git_commit": "12ab", "versions": {"torch": "2.13.0"}}
    run = RunFile.create(path, CONFIG, facts, GRAPH, AGENTS, room=4)
    for number in range(5):
        values = {"train_loss": 1 / (1 + number), "consensus_distance": 0.1**number, "test_accuracy_consensus": 0.5}
        scales = {"round": 10 * number, "epoch": float(number), "seconds": 2.0 * number, "bytes": 100.0 * number}
        run.append({**scales, **values, "test_loss_local": np.arange(AGENTS) / 2, "test_loss_consensus": 0.5})
        run.append_timing({"gradient": np.ones(2) * number})
        run.event("note", f"at {number}", number)
        run.flush()
    run.keep(SNAPSHOTS, FORM, models(40), 1)
    run.finish()
    return path


def _replace(name: str, **keys: object) -> Change:
    def change(file: h5py.File) -> None:
        del file[name]
        file.create_dataset(name, **keys)

    return change


def _put(name: str, value: object) -> Change:
    def change(file: h5py.File) -> None:
        del file[name]
        file[name] = value

    return change


def _say(name: str, key: str, value: object) -> Change:
    def change(file: h5py.File) -> None:
        del file[name].attrs[key]
        file[name].attrs[key] = value

    return change


def _virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((5,), "f8")
    layout[:] = h5py.VirtualSource("/etc/other.h5", "x", (5,))
    del file["metrics/train_loss"]
    file["metrics"].create_virtual_dataset("train_loss", layout)


def _nameless(file: h5py.File) -> None:
    file["provenance"].attrs[b"\xff"] = 1


def _group_in_itself(file: h5py.File) -> None:
    file["metrics/again"] = file["metrics"]


NESTED = "[" * 100_000
ALIASES = "v0: &v0 [1]\n" + "".join(f"v{n}: &v{n} [*v{n - 1}, *v{n - 1}, *v{n - 1}]\n" for n in range(1, 20))

TOLD = json.loads(NETWORK.to_json())


def _network(text: str) -> Change:
    return _put("snapshots/network", text)


def _tensor(entry: list[object]) -> Change:
    return _network(json.dumps(TOLD | {"tensors": [*TOLD["tensors"], entry]}))


# What is forged, and what is said of it.
FORGED: dict[str, tuple[Change, str]] = {
    "a link to another file": (_put("metrics/train_loss", h5py.ExternalLink("/etc/other.h5", "/x")), "a link to"),
    "a link within the file": (_put("metrics/train_loss", h5py.SoftLink("/metrics/epoch")), "is a link to elsewhere"),
    "a link for a table": (_put("events", h5py.ExternalLink("/etc/other.h5", "/events")), "is a link to elsewhere"),
    "a link for the configuration": (_put("config", h5py.SoftLink("/entry/title")), "is a link to elsewhere"),
    "external storage": (
        _replace("metrics/train_loss", shape=(5,), dtype="f8", external=[("/etc/passwd", 0, 40)]),
        "lies in other files",
    ),
    "a virtual data set": (_virtual, "lies in other files"),
    "a group inside itself": (_group_in_itself, "/metrics/again is no array"),
    "a fact whose name is no text": (_nameless, "a part whose name is no text"),
    "a group for a column": (lambda file: file.create_group("metrics/more"), "/metrics/more is no array"),
    "more rows than are stored": (_replace("metrics/round", shape=(10**12,), dtype="i8"), "claims 8000000000000 bytes"),
    "rows that unpack to more than memory": (
        _replace("metrics/round", shape=(10**13,), dtype="i8", chunks=(2**28,), compression="gzip"),
        "bytes, and",
    ),
    "more records than rows": (_say("metrics", "records", 10**15), "rows, not 1000000000000000"),
    "a count that is not finite": (_say("metrics", "records", np.nan), "counts nothing"),
    "an infinite count": (_say("metrics", "records", np.inf), "counts nothing"),
    "a count of text": (_say("metrics", "records", "many"), "counts nothing"),
    "counts": (_say("metrics", "records", [1, 2]), "counts nothing"),
    "events without end": (_say("events", "records", 10**15), "rows, not"),
    "no agents": (_say("/", "agents", 0), "without agents"),
    "infinite agents": (_say("/", "agents", np.inf), "counts nothing"),
    "agents that no memory holds": (_say("/", "agents", 10**9), "no run has more than 100000"),
    "values of more agents": (_put("metrics/test_loss_local", np.zeros((5, 4))), "of 4 agents, and the run has 3"),
    "an infinite version": (_say("/", "schema_version", np.inf), "counts nothing"),
    "texts for numbers": (_put("metrics/train_loss", ["a", "b", "c", "d", "e"]), "is no column of numbers"),
    "texts for rounds": (_put("metrics/round", np.array([b"a"] * 5)), "is no column of numbers|no array"),
    "rounds that are no whole numbers": (_put("metrics/round", np.full(5, np.nan)), "/metrics/round is no array"),
    "rounds below zero": (_put("metrics/round", np.arange(5) - 1), "rounds below zero, or that do not rise"),
    "rounds that come twice": (_put("metrics/round", [0, 1, 1, 2, 3]), "rounds below zero, or that do not rise"),
    "rounds below zero that are kept": (_put("snapshots/round", [-1]), "/snapshots/round has rounds below zero"),
    "rounds of events below zero": (_put("events/round", np.full(5, -2)), "a round that is none"),
    "seconds without end": (_put("metrics/seconds", [0, 1, 2, 3, np.inf]), "/metrics/seconds has inf, which no clock"),
    "seconds below zero": (_put("metrics/seconds", [0, -1, 2, 3, 4]), "/metrics/seconds has -1, which no clock"),
    "seconds of some records": (_put("metrics/seconds", [0, np.nan, 2, 3, 4]), "/metrics/seconds lacks values"),
    "epochs below zero": (_put("metrics/epoch", np.full(5, -0.5)), "/metrics/epoch has -0.5"),
    "bytes without end": (_put("metrics/bytes", np.full(5, np.inf)), "/metrics/bytes has inf"),
    "bytes of agents below zero": (
        lambda file: file.create_dataset("metrics/bytes_sent", data=-np.ones((5, 3))),
        "/metrics/bytes_sent has -1",
    ),
    "numbers of 80 bits": (_put("metrics/train_loss", np.ones(5, np.longdouble)), "longer numbers than any run"),
    "seconds of no rank": (_put("timing/gradient", np.zeros((5, 0))), "/timing/gradient is of no rank"),
    "a rank's seconds below zero": (_put("timing/gradient", -np.ones((5, 2))), "/timing/gradient has -1"),
    "a rank's seconds without end": (_put("timing/gradient", np.full((5, 2), np.inf)), "/timing/gradient has inf"),
    "times of events that are not finite": (_put("events/time", np.full(5, np.nan)), "no date"),
    "times of events beyond all dates": (_put("events/time", np.full(5, 1e300)), "no date"),
    "numbers for texts": (_put("events/text", np.arange(5)), "/events/text is no array"),
    "a time without a zone": (_say("/", "updated", "2026-01-01T00:00:00"), "without a zone"),
    "a time that is a number": (_say("/", "updated", 5), "is no text"),
    "a status that is an array": (_say("/", "status", ["a", "b"]), "is no text"),
    "hosts that are numbers": (_say("provenance", "hosts", [1, 2]), "hosts are no list"),
    "a model of other numbers": (_put("snapshots/consensus", np.zeros((1, 8), np.float32)), "not have its checksum"),
    "a model of texts": (_put("snapshots/sha256/consensus", np.array([b"x"])), "not have its checksum"),
    "a network that is a list": (_network("[1, 2]"), "not described as one"),
    "a network nested without end": (_network(NESTED), "recursion"),
    "a network without tensors": (_network(json.dumps(TOLD | {"tensors": []})), "nothing that is trained"),
    "a tensor without a name": (_tensor([5, "float32", [2], "parameters", 0]), "no names and shapes"),
    "a tensor of negative sizes": (_tensor(["a", "float32", [-1, -6], "parameters", 0]), "no names and shapes"),
    "a tensor beyond all numbers": (_tensor(["a", "float32", [10**30], "parameters", 0]), "numbers, and a model 8"),
    "a tensor before its row": (_tensor(["a", "float32", [2], "parameters", -4]), "no names and shapes"),
    "a tensor beyond the constants": (_tensor(["a", "int64", [9], "constants", 0]), "'a' is not there"),
    "a tensor of objects": (_tensor(["a", "object", [2], "constants", 0]), "consists of 'object'"),
    "a tensor of a word of torch": (_tensor(["a", "save", [2], "constants", 0]), "consists of 'save'"),
    "a tensor of a row that is none": (_tensor(["a", "float32", [2], "elsewhere", 0]), "no names and shapes"),
    "outputs that are no number": (_network(json.dumps(TOLD | {"outputs": "many"})), "not described as one"),
    "aliases of aliases": (_put("config", ALIASES), "its /config"),
    "a configuration in itself": (_put("config", "a: &a [*a]"), "refers to itself"),
    "a nested configuration": (_put("config", "a: " + NESTED), "nests deeper"),
    "a list for a configuration": (_put("config", "[1, 2]"), "no YAML mapping"),
    "an array of configurations": (_put("config", ["a: 1", "b: 2"]), "/config is no text"),
    "a configuration of bytes": (_put("config", np.bytes_(b"\xff\xfe")), "utf-8"),
}

# What concerns those alone who start from a model that is kept.
OF_A_MODEL = {name for name in FORGED if {"model", "network", "tensor", "outputs"} & set(name.split())}


def forge(path: Path, name: str) -> str:
    """Makes this change to a sound run file; returns what is to be said of it."""
    change, words = FORGED[name]
    with h5py.File(path, "r+", locking=False) as file:
        change(file)
    return words
