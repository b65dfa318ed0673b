"""Whole runs on a GPU: the CPU's numbers, the same on any number of ranks, and nothing that leaves the device.

Parts have GPU tests of their own: tests/models, tests/data, tests/comm. `bash tools/gpu_check.sh` runs them all.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch

from mpidl.experiment import Config
from tests.algorithms.problems import Outcome, run
from tests.gpus import KIND, needs_gpu
from tests.models.cases import every_case
from tests.ranks import on_ranks
from tests.training.runs import configuration, on_parts, same

pytestmark = needs_gpu
both_algorithms = pytest.mark.parametrize("algorithm", ["dsgd", "csgd"])


def hyper_parameters(algorithm: str) -> dict[str, Any]:
    """Everything that an algorithm may do to a gradient."""
    return {"name": algorithm, "lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01, "clip_norm": 1.0}


def on_device(device: str, comm: Any, algorithm: str = "dsgd", gpus: int = 8, **sections: Any) -> Config:
    """A configuration for this device, which is chosen as at the start of a run: ranks take so many GPUs in turn."""
    from mpidl.comm.start import device as devices

    devices.choose(device, comm.rank % gpus)
    train = {"device": device} | sections.pop("train", {})
    return configuration(hyper_parameters(algorithm), train=train, **sections)


def trained_on(device: str, comm: Any, algorithm: str = "dsgd", **sections: Any) -> Outcome:
    """The outcome of a run, which must have had its rows there."""

    def check(composed: Any) -> None:
        method = composed.training.algorithm
        assert {method.model(name).device.type for name in method.models} == {device}

    return run(on_device(device, comm, algorithm, **sections), comm, before=check)


def assert_close(one: Outcome, other: Outcome, tolerance: float) -> None:
    assert np.abs(one.rows - other.rows).max() <= tolerance
    for first, second in zip(one.records, other.records, strict=True):
        for key in first:
            if "accuracy" not in key:
                assert np.allclose(first[key], second[key], rtol=tolerance, atol=tolerance, equal_nan=True), key


@both_algorithms
@pytest.mark.parametrize("model", ["tanh_network", "normed"])
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 2e-5), ("float64", 1e-12)])
@on_ranks(1)
def test_a_run_on_a_gpu_is_that_on_the_cpu(precision, tolerance, model, algorithm, comm):
    sections = {"model": f"tests.training.plugins:{model}", "train": {"precision": precision, "rounds": 12}}
    on_cpu, on_gpu = (trained_on(device, comm, algorithm, **sections) for device in ("cpu", KIND))
    assert_close(on_cpu, on_gpu, tolerance)
    assert on_gpu.records[-1]["train_loss"] < on_gpu.records[1]["train_loss"]


@both_algorithms
@pytest.mark.parametrize("model", ["dropping", "normed"])
@pytest.mark.parametrize("gpus", [1, 8])
@on_ranks(2)
def test_ranks_that_share_a_gpu_or_have_their_own_compute_the_bits_of_one(gpus, model, algorithm, comm):
    sections = {"model": f"tests.training.plugins:{model}", "train": {"precision": "float32"}, "gpus": gpus}
    alone, shared = on_parts(comm, (1, 2), lambda part: trained_on(KIND, part, algorithm, **sections))
    assert same(alone, shared)


@both_algorithms
@on_ranks(1)
def test_bfloat16_trains_rows_of_float32(algorithm, comm):
    found = {}
    for precision in ("float32", "bfloat16"):
        train = {"precision": precision, "rounds": 30}
        found[precision] = trained_on(KIND, comm, algorithm, train=train, evaluate={"every": 10})
    assert found["bfloat16"].rows.dtype == np.float32
    losses = [record["train_loss"] for record in found["bfloat16"].records[1:]]
    assert losses[-1] < losses[0]
    assert 1e-5 < np.abs(found["bfloat16"].rows - found["float32"].rows).max() < 0.05


@on_ranks(1)
def test_gradients_evaluated_at_once_are_those_of_one_by_one(comm):
    each, at_once = (
        trained_on(KIND, comm, model="tests.training.plugins:normed", train={"batched": batched})
        for batched in (False, True)
    )
    assert_close(each, at_once, 1e-10)


@every_case
@on_ranks(1)
def test_every_model_trains_by_deterministic_kernels(settings, shape, comm):
    data = {"name": "tests.gpu.data:shaped", "shape": list(shape)}
    sections = {"agents": 2, "model": settings, "data": data, "train": {"precision": "float32", "rounds": 3}}
    first, second = (trained_on(KIND, comm, **sections) for _ in range(2))
    assert same(first, second) and np.isfinite(first.rows).all()


def copies(work: Any) -> Counter[str]:
    """Names of copies between host and device in a profile of `work`, and how many kernels ran."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU, getattr(ProfilerActivity, KIND.upper())]) as profiled:
        work()
        torch.accelerator.synchronize()
    found = Counter({"kernels": 0})
    for event in profiled.events():
        if event.name.startswith("Memcpy HtoD") or event.name.startswith("Memcpy DtoH"):
            found[event.name] += 1
        elif event.device_type == getattr(torch.autograd.DeviceType, KIND.upper()):
            found["kernels"] += 1
    return found


@both_algorithms
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@on_ranks(1)
def test_rows_and_data_stay_on_the_device(precision, algorithm, comm):
    from mpidl.experiment.compose import compose

    seen = copies(lambda: torch.ones(8).to(KIND).add_(1).cpu())
    if not (seen["kernels"] and len(seen) == 3):
        pytest.skip(f"the profiler does not see copies on this machine: {dict(seen)}")
    # A pass is 32 batches; the profile ends before the next, whose order is drawn on the host.
    data = {"name": "tests.gpu.data:shaped", "shape": [12], "examples": 512}
    train = {"rounds": 10**6, "precision": precision}
    model = {"name": "mlp", "hidden": [16]}
    sections = {"agents": 4, "model": model, "data": data, "train": train, "evaluate": {"every": 10**6}}
    composed = compose(on_device(KIND, comm, algorithm, **sections), comm)
    for _ in range(5):
        composed.training.run_round()
    found = copies(lambda: [composed.training.run_round() for _ in range(20)])
    composed.close()
    assert found.pop("kernels") >= 20 * 4
    assert not found, "copies between host and device in 20 rounds"
