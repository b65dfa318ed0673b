"""Taking out of a run file the models that it keeps (snapshots.py), each checked to be as it was written."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mpidl.errors import ResultsError, choices_sentence, quoted
from mpidl.layout import CONSTANTS, FLOATS, INTEGERS, PARAMETERS, Network
from mpidl.results import checked, snapshots
from mpidl.results.lazy import refuse_other_rounds

if TYPE_CHECKING:
    from torch import Tensor, nn

OWN = "local"
# Of the models that all ranks hold, the one that is meant where none is named is the first of these that is kept.
_FIRST = ("consensus", "server", "all", "sampled")
# What tensors may consist of, by torch's names, with the bytes of each.
_WIDTHS = {
    **dict.fromkeys(("float64", "complex64", "int64"), 8),
    **dict.fromkeys(("float32", "int32"), 4),
    **dict.fromkeys(("float16", "bfloat16", "int16"), 2),
    **dict.fromkeys(("int8", "uint8", "bool"), 1),
}


class Kept(NamedTuple):
    """Models of one round: in which group of the file, at which place, and by name how many agents have their own."""

    group: str
    place: int
    round: int
    models: Mapping[str, int | None]

    @property
    def shared(self) -> str | None:
        """The model that is meant where none is named."""
        shared = [name for name, agents in self.models.items() if agents is None]
        return min(shared, key=lambda name: (_FIRST.index(name) if name in _FIRST else len(_FIRST), name), default=None)


@dataclass(frozen=True)
class KeptModel:
    """One model with all that belongs to it. `agent` is whose own it is, None where all hold it."""

    path: Path
    name: str
    agent: int | None
    round: int
    network: Network
    rows: Mapping[str, np.ndarray]

    def refuse_gone(self) -> KeptModel:
        """Itself; ResultsError where it is that of an agent which was gone by then."""
        if self.agent is not None and np.isnan(self.rows[PARAMETERS]).all():
            raise ResultsError(
                f"{str(self.path)!r} has no model of agent {self.agent} after round {self.round}: its numbers are NaN, "
                "as of an agent that was dropped when its rank had died"
            )
        return self

    def state_dict(self) -> dict[str, Tensor]:
        """As `module.load_state_dict` takes it, each tensor with memory of its own."""
        return dict(self._tensors())

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        import torch

        rows = {name: torch.from_numpy(row) for name, row in self.rows.items()}
        for entry in self.network.entries:
            dtype = getattr(torch, entry.dtype)
            if entry.row == CONSTANTS:
                end = entry.begin + entry.size * dtype.itemsize
                yield entry.name, rows[CONSTANTS][entry.begin : end].clone().view(dtype).reshape(entry.shape)
            else:
                piece = rows[entry.row][entry.begin : entry.begin + entry.size]
                yield entry.name, piece.reshape(entry.shape).to(dtype, copy=True)


def find(root: checked.Group) -> tuple[Kept, ...]:
    """What an open file keeps: the snapshots in their order, and last the best."""
    found: list[Kept] = []
    for name in snapshots.GROUPS:
        if name not in root:
            continue
        group = root.group(name)
        records, places = group.count("records"), group.shape("round", "iu")
        if len(places) != 1 or (records and not places[0]):
            raise ValueError(f"/{name}/round is no column of numbers")
        # Of places that are written in turn, all but the newest may be half overwritten.
        first = records - 1 if name == snapshots.BEST else 0
        rounds, models = group.array("round", "iu"), _models(group)
        if not models:
            continue
        if name == snapshots.SNAPSHOTS and records > len(rounds):
            raise ValueError(f"/{name}/round has {len(rounds)} rows, not {records}")
        kept = [record % len(rounds) for record in range(max(0, first), records)]
        refuse_other_rounds(f"/{name}/round", rounds[kept])
        found += [Kept(name, place, int(rounds[place]), models) for place in kept]
    return tuple(found)


def names(group: checked.Group) -> tuple[str, ...]:
    """The models of one group of an open file."""
    # Older files have no checksums; what they keep can be read as plain numbers alone.
    return group.group(snapshots.DIGESTS).names if snapshots.DIGESTS in group else ()


def _models(group: checked.Group) -> dict[str, int | None]:
    models: dict[str, int | None] = {}
    for name in names(group):
        shape = group.group(snapshots.DIGESTS).shape(name, "S")
        if len(shape) not in (1, 2):
            raise ValueError(f"{name!r} is no model")
        models[name] = shape[1] if len(shape) == 2 else None
    return models


def choose(path: Path, kept: Sequence[Kept], round: int | str | None) -> Kept:
    """The models of this round, the "best", or by default the newest."""
    if not kept:
        raise ResultsError(f"{str(path)!r} keeps no model; let that run keep some, with checkpoint.final: true")
    if round is None:
        return max(kept, key=lambda each: (each.group == snapshots.SNAPSHOTS, each.round))
    found = [each for each in kept if round in (each.round, each.group)]
    if not found:
        there = sorted({str(each.round) if each.group != snapshots.BEST else "best" for each in kept})
        raise ResultsError(f"{str(path)!r} keeps no model of round {round!r} ({', '.join(there)})")
    return found[0]


def network(path: Path, kept: Kept) -> Network:
    """What these models consist of."""
    return checked.read(path, lambda root: Network.from_json(root.group(kept.group).text(snapshots.NETWORK)))


def read(path: Path, kept: Kept, model: str | int | None) -> KeptModel:
    """A model by its name, an agent's own by its number; by default one that all hold. Every bit is checked."""
    name, agent = named(path, kept, model)
    network, rows = checked.read(path, lambda root: _read(root, kept, name, agent))
    return KeptModel(path, name, agent, kept.round, network, rows).refuse_gone()


def verify(path: Path, kept: Sequence[Kept]) -> tuple[int, list[str]]:
    """How many of these models, agents' own counted one by one, are as they were written, and what is wrong if any."""
    return checked.read(path, lambda root: _verify(root, kept))


def _verify(root: checked.Group, kept: Sequence[Kept]) -> tuple[int, list[str]]:
    whole, wrong = 0, []
    for each in kept:
        for name, agents in each.models.items():
            for agent in [None] if agents is None else range(agents):
                try:
                    _read(root, each, name, agent)
                    whole += 1
                except ValueError as error:
                    wrong.append(str(error))
    return whole, wrong


def named(path: Path, kept: Kept, model: str | int | None) -> tuple[str, int | None]:
    """Which model is meant, and of an agent's own whose; ResultsError where there is none such."""
    if isinstance(model, str) and model.isascii() and model.isdigit():
        model = int(model)
    if isinstance(model, int):
        agents = kept.models.get(OWN)
        if agents is None:
            raise ResultsError(
                f"{str(path)!r} keeps no agent's own model ({', '.join(sorted(kept.models))}); "
                "let that run keep them, with checkpoint.final: all"
            )
        if not 0 <= model < agents:
            raise ResultsError(f"{str(path)!r} has no agent {model}; its agents are 0 to {agents - 1}")
        return OWN, model
    if model is None:
        model = kept.shared
        if model is None:
            raise ResultsError(f"{str(path)!r} keeps agents' own models only; name one by its number")
    if model not in kept.models:
        raise ResultsError(f"{str(path)!r}: model {choices_sentence(model, kept.models)}")
    if kept.models[model] is not None:
        raise ResultsError(f"each agent has a model of its own; name an agent, 0 to {(kept.models[model] or 1) - 1}")
    return model, None


def _read(root: checked.Group, kept: Kept, name: str, agent: int | None) -> tuple[Network, dict[str, np.ndarray]]:
    group = root.group(kept.group)
    place = (kept.place,) if agent is None else (kept.place, agent)
    told = group.text(snapshots.NETWORK)
    network = Network.from_json(told)
    constants = group.array(snapshots.CONSTANTS, "u") if snapshots.CONSTANTS in group else np.empty(0, np.uint8)
    rows, digest = {CONSTANTS: constants}, hashlib.sha256(told.encode())
    digest.update(constants.data)
    for kind in (PARAMETERS, FLOATS, INTEGERS):
        if network.length(kind):
            row = (group if kind == PARAMETERS else group.group(kind)).row(name, *place)
            if row.shape != (network.length(kind),):
                raise ValueError(f"its {kind} have {network.length(kind)} numbers, and a model {row.size}")
            if row.dtype != np.dtype(np.int64 if kind == INTEGERS else network.dtype):
                raise ValueError(f"its {kind} are of another type than its network says")
            rows[kind] = np.ascontiguousarray(row)
            digest.update(rows[kind].data)
    _check_fit(network, constants)
    if group.group(snapshots.DIGESTS).row(name, *place, kinds="S") != digest.hexdigest().encode():
        whose = repr(name) if agent is None else f"model of agent {agent}"
        raise ValueError(f"its {whose} of round {kept.round} does not have its checksum")
    return network, rows


def _check_fit(network: Network, constants: np.ndarray) -> None:
    if constants.dtype != np.uint8 or constants.ndim != 1:
        raise ValueError("its constants are no bytes")
    for entry in network.entries:
        if entry.dtype not in _WIDTHS:
            raise ValueError(f"its tensor {entry.name!r} consists of {entry.dtype!r}")
        if entry.row == CONSTANTS and entry.begin + entry.size * _WIDTHS[entry.dtype] > len(constants):
            raise ValueError(f"its tensor {entry.name!r} is not there")


def build(model: KeptModel, settings: object, plug_ins: bool = False) -> nn.Module:
    """The network that these settings describe, with the model's numbers, in evaluation mode."""
    import torch

    from mpidl.models import MODELS
    from mpidl.models.initial import initial_module

    path, network = str(model.path), model.network
    name = settings.get("name") if isinstance(settings, dict) else None
    if not isinstance(settings, dict) or not isinstance(name, str):
        raise ResultsError(f"{path!r} is damaged: its configuration has no model")
    if ":" in name and not plug_ins:
        raise ResultsError(
            f"the model of {path!r} is {quoted(name)}, code that does not come with mpidl; to have it run, say so "
            "(plug_ins=True, --plug-ins)"
        )
    part = MODELS.parse(settings | {"init": "shared"})
    shapes = {entry.name: entry.shape for entry in network.entries}
    try:
        # Without memory, which the file may not justify.
        with torch.device("meta"), _at_most(10 * len(shapes) + 1000, path):
            built = part.build(network.example_shape, network.outputs)
        _refuse_other(path, shapes, built)
    except (RuntimeError, NotImplementedError):
        # A module that looks at its numbers cannot be built without any.
        pass
    module = initial_module(part, network.example_shape, network.outputs, 0, dtype=getattr(torch, network.dtype))
    _refuse_other(path, shapes, module)
    module.load_state_dict(model.state_dict(), strict=True)
    return module.eval()


@contextmanager
def _at_most(parameters: int, path: str) -> Iterator[None]:
    """While this lasts, no more parameters are made: a configuration can ask for layers without end."""
    from torch.nn.modules.module import register_module_parameter_registration_hook

    made = 0

    def count(module: nn.Module, name: str, parameter: nn.Parameter) -> None:
        nonlocal made
        made += 1
        if made > parameters:
            raise _other(path)

    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()


def _other(path: str) -> ResultsError:
    return ResultsError(f"the model in {path!r} does not fit the network that its configuration describes")


def _refuse_other(path: str, shapes: Mapping[str, tuple[int, ...]], module: nn.Module) -> None:
    if {name: tuple(value.shape) for name, value in module.state_dict().items()} != shapes:
        raise _other(path)
