"""What `mpidl checkpoint` prints: rows about models and checkpoints, tables of what they consist of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mpidl.sentences import numbered
from mpidl.spoken import amount, duration, number, of_metric

if TYPE_CHECKING:
    from rich.table import Table

    from mpidl.results import Run
    from mpidl.results.checkpoints.reader import Checkpoint
    from mpidl.results.models import Kept, KeptModel

_RIGHT = ("round", "numbers", "bytes", "items")
_WORDS = {"parameters": "trained", "floats": "statistics", "integers": "statistics", "constants": "not trained"}


def columns(*titles: str) -> Table:
    """A table with these titles."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in titles:
        table.add_column(title, justify="right" if title in _RIGHT else "left", overflow="fold")
    return table


def of_models(run: Run) -> Iterator[tuple[str, ...]]:
    """A row for each round of which a run file keeps models."""
    size = run.model_bytes() if run.kept else 0
    newest = next((kept for kept in reversed(run.kept) if kept.group == "snapshots"), None)
    for kept in run.kept:
        names = (name if agents is None else f"{name} (0 to {agents - 1})" for name, agents in kept.models.items())
        measured = [f"{name} {of_metric(name, value)}" for name, value in _metrics(run, kept).items()]
        place = f"best {metric_of_best(run) or ''}".rstrip() if kept.group == "best" else "snapshot"
        if kept is newest and run.status == "finished":
            place = "final"
        count = sum(agents or 1 for agents in kept.models.values())
        cells = (str(run.path), place, number(kept.round), ", ".join(names), amount(size * count))
        yield (*cells, *(measured + ["", ""])[:2])


def of_checkpoint(checkpoint: Checkpoint, best: str) -> tuple[str, ...]:
    """A row about a checkpoint; `best`: the metric by which it is the best there is, if it is."""
    facts = checkpoint.facts
    there = f"{facts.agents - len(facts.gone)} of {facts.agents}" if facts.gone else facts.agents
    what = f"the state of {there} agents on {len(checkpoint.files)} ranks"
    return (
        str(checkpoint.path),
        "checkpoint",
        number(facts.round),
        what,
        amount(checkpoint.nbytes),
        checkpoint.created,
        f"best {best}" if best else "",
    )


def tensors(model: KeptModel) -> tuple[Table, str]:
    """What a model consists of, and a sentence about it."""
    network, table = model.network, columns("tensor", "type", "shape", "numbers", "")
    for entry in network.entries:
        shape = "×".join(map(str, entry.shape)) or "number"
        table.add_row(entry.name, entry.dtype, shape, f"{entry.size:,}", _WORDS[entry.row])
    whose = model.name if model.agent is None else f"agent {model.agent}"
    return table, (
        f"{whose} after round {model.round}: {network.length('parameters'):,} trained numbers, "
        f"{amount(network.nbytes)}, for examples of shape {list(network.example_shape)} and {network.outputs} outputs"
    )


def states(checkpoint: Checkpoint) -> tuple[Table, str]:
    """What a checkpoint consists of, and a sentence about it."""
    facts, table = checkpoint.facts, columns("state", "kind", "type", "shape", "items")
    for state in checkpoint.states.values():
        shape = "×".join(map(str, state.shape)) or "number"
        items = f"{state.count:,}" + (f" of {state.total:,}" if state.lazy else "")
        table.add_row(state.name, str(state.kind), str(state.dtype).removeprefix("torch."), shape, items)
    gone = f", without {numbered('agent', facts.gone)}" if facts.gone else ""
    return table, (
        f"{checkpoint.path.name}: after round {facts.round} of {facts.rounds}, {duration(facts.seconds)} of training; "
        f"{facts.agents} agents on {len(checkpoint.files)} ranks{gone}; {amount(checkpoint.nbytes)}, of "
        f"{checkpoint.created}"
    )


def metric_of_best(run: Run) -> str | None:
    """The metric by which a run keeps its best, if its configuration says one."""
    section = run.config.get("checkpoint")
    metric = section.get("best") if isinstance(section, dict) else None
    return metric if isinstance(metric, str) else None


def _metrics(run: Run, kept: Kept) -> dict[str, float]:
    """What the run has recorded of the model that is meant where none is named."""
    records = [record for record, round_ in enumerate(run.metrics["round"]) if round_ == kept.round]
    names = [f"test_{quantity}_{kept.shared or 'local'}" for quantity in ("accuracy", "loss")]
    return {name: float(run.curve(name)[records[-1]]) for name in names if records and name in run.metrics}
