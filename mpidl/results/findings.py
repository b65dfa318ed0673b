"""Files of what was found out about a run after it: one beside the run file, which is never touched by it.

    first.analysis.h5      attributes: mpidl_analysis (schema), run (name of the run's file), run_created
      /<kind>              attributes: settings and provenance (JSON), updated (UTC), signal and axes as in NeXus
        <name>             an array or a number, with `units`, `description` and `scales`: for each dimension what it
                           goes along, another name of this group or a word

A kind that is found out again replaces what was there of it, and nothing else. The file is exchanged as a whole, so
that a reader always finds one that is complete.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mpidl.errors import ConfigError, ResultsError, SaveError
from mpidl.results import checked
from mpidl.results.provenance import utc_now
from mpidl.results.storage import replace, system_words

if TYPE_CHECKING:
    import h5py

_MARK, _SCHEMA = "mpidl_analysis", 1
_KIND = "file of analyses"
# What a file can hold; an honest one has a hundredth of it.
_MOST_BYTES = 2**28


@dataclass(frozen=True)
class Finding:
    """A number or an array, with its units ("1" for plain numbers) and one line about it.

    `scales` say for each dimension what it goes along: the name of another finding of its kind, or a word.
    """

    name: str
    values: np.ndarray
    units: str
    description: str
    scales: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.scales) != self.values.ndim:
            raise ValueError(f"{self.name!r} has {self.values.ndim} dimensions, and {len(self.scales)} are named")


@dataclass(frozen=True)
class Findings:
    """All of one kind, by name, with what was asked for."""

    kind: str
    settings: Mapping[str, Any]
    found: Mapping[str, Finding]

    def __getitem__(self, name: str) -> np.ndarray:
        return self.found[name].values

    def __contains__(self, name: object) -> bool:
        return name in self.found

    def number(self, name: str) -> float:
        """A finding that is one number."""
        return float(self.found[name].values.item())


@dataclass(frozen=True)
class Analysis:
    """An opened file of findings, by kind."""

    path: Path
    run: str
    run_created: str
    kinds: Mapping[str, Findings]


def beside(run: Path) -> Path:
    """Where analyses lie: of `first.h5` in `first.analysis.h5`, of a checkpoint in `first.round-….analysis.h5`."""
    if run.parent.suffix == ".ckpt":
        return run.parent.with_name(f"{run.parent.stem}.{run.name}.analysis.h5")
    return run.with_name(f"{run.name.removesuffix('.h5').removesuffix('.hdf5')}.analysis.h5")


def is_findings(path: Path) -> bool:
    """Whether this is a file that `write` wrote."""
    return path.is_file() and checked.is_marked(path, _MARK)


def check(path: Path, run_created: str) -> None:
    """Refuses a file that is in the way: none of these, or one about another run."""
    if path.is_dir():
        raise ConfigError(f"the output {str(path)!r} is a folder; name a file", "-o")
    if not path.exists():
        return
    if not is_findings(path):
        raise ConfigError(f"{str(path)!r} is no {_KIND}, and is not replaced; choose another", "-o")
    if open(path).run_created != run_created:
        raise ConfigError(f"{str(path)!r} is about another run; remove it, or choose another", "-o")


def write(path: Path, run: str, run_created: str, findings: Findings, provenance: Mapping[str, Any]) -> None:
    """Puts findings of one kind into the file, in the place of earlier ones of this kind."""

    def change(file: h5py.File) -> None:
        file.attrs.update({_MARK: _SCHEMA, "run": run, "run_created": run_created, "NX_class": "NXroot"})
        if findings.kind in file:
            del file[findings.kind]
        _store(file.create_group(findings.kind), findings, provenance)
        file.attrs["default"] = findings.kind

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace(path, change, copy=path.exists())
    except (OSError, RuntimeError) as error:
        raise SaveError(f"the analysis could not be written to {str(path)!r}: {system_words(error)}") from error


def open(path: Path) -> Analysis:
    """The findings in a file; ResultsError for any other."""
    return checked.read(path, lambda root: _analysis(path, root), _KIND)


def _store(group: h5py.Group, findings: Findings, provenance: Mapping[str, Any]) -> None:
    import h5py

    group.attrs.update(
        NX_class="NXdata",
        settings=json.dumps(dict(findings.settings)),
        provenance=json.dumps(dict(provenance)),
        updated=utc_now(),
    )
    for finding in findings.found.values():
        dataset = group.create_dataset(finding.name, data=np.asarray(finding.values))
        dataset.attrs.update(units=finding.units, description=finding.description)
        dataset.attrs.create("scales", list(finding.scales), shape=(len(finding.scales),), dtype=h5py.string_dtype())
        for dimension, scale in zip(dataset.dims, finding.scales, strict=True):
            dimension.label = scale
    shown = next((each for each in findings.found.values() if set(each.scales) & findings.found.keys()), None)
    if shown is not None:
        group.attrs["signal"] = shown.name
        axes = [scale if scale in findings.found else "." for scale in shown.scales]
        group.attrs.create("axes", axes, shape=(len(axes),), dtype=h5py.string_dtype())


def _analysis(path: Path, root: checked.Group) -> Analysis:
    if _MARK not in root.attribute_names:
        raise ValueError("it holds no analysis")
    schema = root.count(_MARK)
    if schema > _SCHEMA:
        raise ResultsError(f"{str(path)!r} has schema {schema}, this mpidl reads up to {_SCHEMA}: update mpidl")
    kinds = {kind: _findings(kind, root.group(kind)) for kind in root.names}
    return Analysis(path, root.word("run"), root.word("run_created"), kinds)


def _findings(kind: str, group: checked.Group) -> Findings:
    settings = json.loads(group.word("settings"))
    if not isinstance(settings, dict):
        raise ValueError(f"the settings of /{kind} are none")
    found = {name: _finding(group, name) for name in group.names}
    return Findings(kind, settings, found)


def _finding(group: checked.Group, name: str) -> Finding:
    values = group.array(name, "fiub")
    if values.nbytes > _MOST_BYTES:
        raise ValueError(f"{name!r} has {values.nbytes} bytes")
    scales = group.about(name).attribute("scales")
    if not isinstance(scales, list) or len(scales) != values.ndim or not all(isinstance(each, str) for each in scales):
        raise ValueError(f"the dimensions of {name!r} have no names")
    units, description = (group.of_column(name, word) for word in ("units", "description"))
    return Finding(name, np.asarray(values), units, description, tuple(scales))


def named(findings: Sequence[Finding]) -> dict[str, Finding]:
    """By name."""
    return {finding.name: finding for finding in findings}
