"""Whose BatchNorm statistics a model is measured with: the agents', the server's, or estimated anew."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.ranks import on_ranks
from tests.training.runs import configuration, same, trained

PLUG_INS = "tests.training.plugins:"
both_algorithms = pytest.mark.parametrize("algorithm", ["dsgd", "csgd"])


def statistics_of(composed: Any) -> Any:
    """The BatchNorm statistics of a composed run."""
    return composed.training.algorithm.oracle._statistics


@both_algorithms
@pytest.mark.parametrize("policy", ["average", "reestimate"])
@on_ranks(3)
def test_an_averaged_model_has_averaged_or_reestimated_statistics(policy, algorithm, comm):
    from mpidl.experiment.compose import compose

    config = configuration(algorithm, model=PLUG_INS + "normed", evaluate={"buffers": policy, "every": 4})
    alone, two, three = trained(config, comm, (1, 2, 3))
    assert same(alone, two) and same(alone, three)

    composed = compose(config, comm)
    composed.training.run()
    method, statistics = composed.training.algorithm, statistics_of(composed)
    row = method.model(method.models[0])
    averaged, counts = statistics.of_shared_model(composed.training.algorithm.oracle._learner, row)
    own = np.concatenate([statistics.of_agent(agent)[0][None].numpy() for agent in method.agents])
    own = np.concatenate(comm.allgather(own))
    composed.close()
    if policy == "average":
        # Those of a server's model are what every agent starts a round from.
        assert np.abs(averaged.numpy() - own.mean(0)).max() < 1e-14
        assert counts.tolist() == [8] and np.abs(own[:, :6]).max() > 0.01
    else:
        data, row = config.data.load(), row.numpy()
        # What the BatchNorm sees of the examples: its first layer has five inputs and six outputs.
        z = data.x @ row[:30].reshape(6, 5).T + row[30:36]
        variance = np.zeros(6)
        for agent in range(5):
            mine = z[data.owner == agent]
            variance += len(mine) / len(z) * (mine.var(0, ddof=1) + (mine.mean(0) - z.mean(0)) ** 2)
        assert np.abs(averaged.numpy() - np.concatenate([z.mean(0), variance])).max() < 1e-13
        # Nearly that of all examples together; Bessel's correction is an agent's own, and the least has six examples.
        excess = variance / z.var(0) - 1
        assert excess.min() > 0 and excess.max() < 1 / 5
    assert (np.abs(own - own[0]).max() > 0.01) == (algorithm == "dsgd")


@on_ranks(2)
def test_agents_that_were_never_sampled_have_no_say_in_the_statistics_of_the_server(comm):
    from mpidl.experiment.compose import compose

    algorithm = {"name": "tests.training.plugins:Averaging", "lr": 0.1, "participation": 0.4, "local_steps": 1}
    composed = compose(configuration(algorithm, model=PLUG_INS + "normed", train={"rounds": 1}), comm)
    start = composed.training.algorithm.x.numpy().copy()
    composed.training.run()
    method, statistics = composed.training.algorithm, statistics_of(composed)
    crew = method.took_part()
    assert len(crew.agents) == 2
    row = start.reshape(-1)
    means = []
    for agent in crew.agents:
        z = composed.batches.batch(agent, 0)[0].numpy() @ row[:30].reshape(6, 5).T + row[30:36]
        means.append(z.mean(0))
    floats, counts = statistics.averaged()
    # torch moves by 0.1, from a mean of 0.
    assert np.abs(floats[:6].numpy() - 0.1 * np.mean(means, 0)).max() < 1e-14 and counts.tolist() == [1]
    composed.close()


@on_ranks(1)
def test_a_layer_that_a_network_keeps_in_evaluation_mode_stays_in_it(comm):
    from mpidl.experiment.compose import compose

    composed = compose(configuration(model=PLUG_INS + "frozen_norm"), comm)
    composed.training.run()
    buffers = statistics_of(composed)
    assert buffers.floats[0].tolist() == [0.0] * 6 + [1.0] * 6 and not buffers.integers.any()
    composed.close()
