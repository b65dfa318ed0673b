"""What the author of an algorithm may get wrong ends in one sentence, which names the algorithm and the cure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pytest

from mpidl.algorithms import Algorithm, AlgorithmSettings, Decentralized, Federated, Local, Metric
from mpidl.errors import ConfigError
from mpidl.experiment.rehearsal import rehearse
from tests.algorithms.problems import configuration, run
from tests.ranks import on_ranks

if TYPE_CHECKING:
    from torch import Tensor


class Told(Decentralized):
    """One that says how often it mixes."""

    @classmethod
    def rows_sent(cls, settings: AlgorithmSettings, agents: int, edges: float) -> Mapping[str, float]:
        return {"parameters": 2 * edges}


class Unprepared(Decentralized):
    def __init__(self, settings, context):
        self.m = self.state.rows("momentum")

    def round(self, X: Tensor) -> Tensor:
        return self.mix(X)


class MixesWhatIsNotNamed(Decentralized):
    def round(self, X: Tensor) -> Tensor:
        return self.mix(X, "momentum")


class NamesAnother(Decentralized):
    mixed = ("parameter",)

    def round(self, X: Tensor) -> Tensor:
        return self.mix(X)


class SendsWhatIsNotNamed(Decentralized):
    def round(self, X: Tensor) -> Tensor:
        self.outgoing("messages")
        return self.mix(X)


class MixesARow(Decentralized):
    def round(self, X: Tensor) -> Tensor:
        return self.mix(X[0])


class ReturnsARow(Decentralized):
    def round(self, X: Tensor) -> Tensor:
        return self.mix(X)[0]


class MixesTwice(Decentralized):
    def round(self, X: Tensor) -> Tensor:
        Y = self.mix(X - self.lr * self.gradient(X))
        return self.mix(Y)


class SwapsTwice(Decentralized):
    edgewise = ("messages",)

    def round(self, X: Tensor) -> Tensor:
        for _ in range(2):
            for row in self.outgoing("messages").values():
                row.zero_()
            self.swap("messages")
        return self.mix(X)


class OutOfPlaceTwice(Told):
    def round(self, X: Tensor) -> Tensor:
        Y = self.mix(X - self.lr * self.gradient(X))
        return self.mix(Y + X)


class DraftsTwice(Decentralized):
    def round(self, X: Tensor) -> Tensor:
        self.mix(self.draft().copy_(X))
        return self.mix(self.draft().copy_(X))


class SendsTwice(Decentralized):
    def round(self, X: Tensor) -> Tensor:
        self.send(X)
        self.send(X)
        return self.receive()


class SendsAndForgets(Decentralized):
    def round(self, X: Tensor) -> Tensor:
        self.send(X)
        return X


class ReceivesWhatWasNotSent(Decentralized):
    def round(self, X: Tensor) -> Tensor:
        return self.receive()


class InPlaceAndNot(Decentralized):
    in_place = ("parameters",)

    def round(self, X: Tensor) -> Tensor:
        return self.mix(X + 1)


class InPlaceAndDrafted(Decentralized):
    in_place = ("parameters",)

    def round(self, X: Tensor) -> Tensor:
        return self.mix(self.draft().copy_(X))


class DeclaresInARound(Decentralized):
    def round(self, X: Tensor) -> Tensor:
        if self.t == 1:
            self.state.rows("momentum")
        return self.mix(X)


class AllocatesInARound(Decentralized):
    def round(self, X: Tensor) -> Tensor:
        return self.mix(X - self.state.scratch(*X.shape))


class RecordsWhatHasNoUnits(Decentralized):
    def diagnostics(self) -> dict[str, list[float]]:
        return {"angle": [1.0 for _ in self.agents]}

    def round(self, X: Tensor) -> Tensor:
        return self.mix(X)


class RecordsAnothers(Decentralized):
    metrics = (Metric("train_loss", "1", "another loss"),)

    def server_diagnostics(self) -> dict[str, float]:
        return {"train_loss": 0.0}

    def diagnostics(self) -> dict[str, list[float]]:
        return {}

    def round(self, X: Tensor) -> Tensor:
        return self.mix(X)


class ReturnsFromRound(Federated):
    def round(self, x: Tensor) -> Tensor:
        return x + 1


class SumsTwice(Federated):
    def round(self, x: Tensor) -> None:
        for _ in range(2):
            self.sum_rows(((position, x) for position in self.mine), x.clone())


class ReturnsFromServer(Local):
    def server(self, x: Tensor, total: Tensor) -> Tensor:
        return x + total[0]


class ReturnsRows(Local):
    def upload(self, agent: int, y: Tensor, x: Tensor, out: Tensor) -> tuple[Tensor, ...]:
        return (y - x,)


class ReturnsAGradient(Local):
    def local_gradient(self, agent: int, y: Tensor, x: Tensor, g: Tensor, step: int) -> Tensor:
        return g + y


class MisspellsAHook(Local):
    def local_gradients(self, agent: int, y: Tensor, x: Tensor, g: Tensor, step: int) -> None:
        g.add_(y)


class WritesARowTooMany(Local):
    def upload(self, agent: int, y: Tensor, x: Tensor, out: Tensor) -> None:
        super().upload(agent, y, x, out)
        out[1].copy_(x)


class SurveysARowTooMany(Local):
    surveys = 1

    def survey(self, agent: int, x: Tensor, out: Tensor) -> None:
        out[1].copy_(x)


MISTAKES: dict[type[Algorithm], str] = {
    Unprepared: "failed: AttributeError: 'Unprepared' object has no attribute 'state'",
    MixesWhatIsNotNamed: "mixes 'momentum', which its `mixed` does not name (parameters)",
    NamesAnother: "mixes 'parameters', which its `mixed` does not name (parameter)",
    SendsWhatIsNotNamed: "sends 'messages' by edge, which its `edgewise` does not name (nothing)",
    MixesARow: "mixes 'parameters' from a block of shape (64,); give the block of all rows, of shape (5, 64)",
    ReturnsARow: "returns a block of shape (64,) from round(); return the block of all rows, of shape (5, 64)",
    MixesTwice: "sends 'parameters' 2 times in a round; let its `rows_sent` say so",
    SwapsTwice: "sends 'messages' 2 times in a round; let its `rows_sent` say so",
    OutOfPlaceTwice: "mixes 'parameters' out of place twice in a round; write it in place the second time",
    DraftsTwice: "asks for draft('parameters') after mixing it out of place; ask once in a round",
    SendsTwice: "sends 'parameters' twice before receive('parameters')",
    SendsAndForgets: "sends 'parameters' and ends the round without receive('parameters')",
    ReceivesWhatWasNotSent: "receives 'parameters', which it did not send",
    InPlaceAndNot: "mixes 'parameters' out of place, but its `in_place` names it; write it in place",
    InPlaceAndDrafted: "asks for draft('parameters'), but its `in_place` names it; write it in place",
    DeclaresInARound: (
        "failed: ValueError: state 'momentum' is declared during the run; declare it once, when its owner is made"
    ),
    AllocatesInARound: (
        "failed: ValueError: scratch memory is asked for during the run; ask for it once, when its owner is made"
    ),
    RecordsWhatHasNoUnits: (
        "records 'angle', which its `metrics` does not name; add Metric('angle', units, description)"
    ),
    ReturnsFromRound: "returns a Tensor from round(); write in place, and return nothing",
    ReturnsFromServer: "returns a Tensor from server(); write in place, and return nothing",
    ReturnsRows: "returns a tuple from upload(); write in place, and return nothing",
    ReturnsAGradient: "returns a Tensor from local_gradient(); write in place, and return nothing",
    MisspellsAHook: "has 'local_gradients', which is no hook; did you mean 'local_gradient'? else call it otherwise",
    SumsTwice: "sums 2 rows of each agent in a round; let its `uploads` say so",
    WritesARowTooMany: "writes more rows in upload() than its `weighted` says (1)",
    SurveysARowTooMany: "writes more rows in survey() than its `surveys` says (1)",
    RecordsAnothers: "records 'train_loss', which every run records; choose another name",
}


@pytest.mark.parametrize("agents", [1, 5])
@pytest.mark.parametrize("algorithm", MISTAKES, ids=lambda algorithm: algorithm.__name__)
@on_ranks(1)
def test_a_mistake_is_told_with_its_cure(algorithm, agents, comm):
    name = f"{__name__}:{algorithm.__name__}"
    with pytest.raises(ConfigError) as caught:
        run(configuration({"name": name}, agents=agents), comm)
    assert str(caught.value) == f"algorithm: {name!r} {MISTAKES[algorithm]}".replace("(5,", f"({agents},")


class MixesTwiceAndSaysSo(Told):
    in_place = ("parameters",)

    def round(self, X: Tensor) -> Tensor:
        Y = self.mix(X.sub_(self.gradient(X), alpha=self.lr))
        return self.mix(Y.mul_(0.9))


@on_ranks(1)
def test_what_is_mixed_twice_is_counted_twice_beforehand(comm):
    config = configuration({"name": f"{__name__}:MixesTwiceAndSaysSo"}, agents=5)
    sent = run(config, comm).bytes_sent
    assert sent == rehearse(config, 1).round_bytes * config.train.rounds == 2 * 2 * 5 * 64 * 8 * config.train.rounds


class LeavesOutARow(Local):
    """Sends a second row in the first round, and forgets it afterwards."""

    weighted = (True, False)

    def __init__(self, settings, context):
        super().__init__(settings, context)
        self.arrived: list[float] = []

    def upload(self, agent: int, y: Tensor, x: Tensor, out: Tensor) -> None:
        super().upload(agent, y, x, out)
        if self.t == 0:
            out[1].fill_(1)

    def server(self, x: Tensor, total: Tensor) -> None:
        super().server(x, total)
        self.arrived.append(float(total[1].mean()))


@on_ranks(1)
def test_a_row_that_is_not_written_adds_nothing(comm):
    kept: list[LeavesOutARow] = []
    config = configuration({"name": f"{__name__}:LeavesOutARow"}, agents=5)
    run(config, comm, before=lambda composed: kept.append(composed.training.algorithm))
    assert kept[0].arrived == [5.0] + [0.0] * (config.train.rounds - 1)
