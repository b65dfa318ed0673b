"""Studies of runs are the same on any number of ranks, and agree with what the runs have recorded."""

from __future__ import annotations

import numpy as np
import pytest

from mpidl import results
from mpidl.analysis import subject
from mpidl.analysis.studies import STUDIES
from mpidl.analysis.studies.base import Choices
from mpidl.analysis.subject import Missing
from tests.ranks import on_ranks
from tests.training.runs import configuration, on_parts

FEW = Choices(points=3, draws=4, eigenvalues=2, steps=20, probes=2)


@on_ranks(3)
def test_studies_are_the_same_on_any_number_of_ranks_and_agree_with_the_run(comm, tmp_path):
    """Of a network with batch normalisation, and agents with unlike amounts of data."""
    from mpidl.analysis.ranks import SharingRanks
    from mpidl.comm.world import World
    from mpidl.experiment.rank import train

    path = comm.bcast(tmp_path) / "run.h5"
    keys = {"checkpoint": {"snapshots": 4}, "evaluate": {"every": 4, "local_examples": "all"}}
    train(configuration(model="tests.training.plugins:normed", **keys), comm, path)
    comm.Barrier()

    def studied(part):
        world = World(part, part.size)
        opened = subject.of_run(results.open(path), SharingRanks(world), plug_ins=True)
        found = {kind: study(opened, FEW, None) for kind, study in STUDIES.items()}
        world.close()
        return found

    alone, *spread = on_parts(comm, (1, 2, 3), studied)
    for other in spread:
        for kind, findings in alone.items():
            for name, finding in findings.found.items():
                assert np.array_equal(finding.values, other[kind][name], equal_nan=True), (kind, name)
    plainly = subject.of_run(results.open(path), plug_ins=True)
    assert STUDIES["alignment"](plainly, FEW, None)["cosines"].tolist() == alone["alignment"]["cosines"].tolist()

    run = results.open(path)
    line, recorded = alone["landscape"]["line_test_loss"], run.metrics["test_loss_consensus"]
    assert alone["landscape"].settings["line"] == ["consensus after round 4", "consensus after round 8"]
    assert [line[0], line[-1]] == recorded[1:].tolist()
    assert alone["landscape"]["line_test_accuracy"][-1] == run.last("test_accuracy_consensus")
    assert alone["uncertainty"]["accuracy_agents"].tolist() == run.metrics["test_accuracy_local"][-1].tolist()
    spreads = run.metrics["consensus_distance"][-1]
    assert np.isclose(alone["sharpness"].number("agents_spread"), spreads, rtol=1e-9)


@on_ranks(1)
def test_a_server_has_sharpness_and_alignment_as_recorded_and_no_agents(comm, tmp_path):
    from mpidl.experiment.rank import train

    keys = {"evaluate": {"every": 4, "gradients": 4}, "algorithm": {"name": "csgd", "weighting": "data"}}
    train(configuration(**keys), comm, tmp_path / "run.h5")
    run = results.open(tmp_path / "run.h5")
    opened = subject.of_run(run, plug_ins=True)
    found = STUDIES["alignment"](opened, FEW, None)
    assert np.isclose(found["gradient_variance"][-1], run.last("gradient_variance"), rtol=1e-9)
    assert "average_direction_sharpness" not in STUDIES["sharpness"](opened, FEW, None)
    assert "agents_position" not in STUDIES["landscape"](opened, FEW, None)
    with pytest.raises(Missing, match="csgd trains one model"):
        STUDIES["uncertainty"](opened, FEW, None)
