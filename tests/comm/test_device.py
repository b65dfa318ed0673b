"""A rank's device is chosen from what it can see, and CUDA_VISIBLE_DEVICES is left alone."""

from __future__ import annotations

import os

import pytest
import torch

from mpidl.comm.start import device
from mpidl.errors import ConfigError


@pytest.fixture
def four_gpus(monkeypatch):
    """Stands in for a host with four GPUs; records which one is made current."""
    current = []
    zeros = torch.zeros
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    monkeypatch.setattr(torch, "zeros", lambda *shape, device: zeros(*shape))
    return current


def test_ranks_of_a_host_take_its_gpus_in_turn(four_gpus, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")
    assert [device.choose("auto", rank).index for rank in range(6)] == [0, 1, 2, 3, 0, 1]
    assert [chosen.index for chosen in four_gpus] == [0, 1, 2, 3, 0, 1]
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "4,5,6,7"


def test_a_single_visible_gpu_is_number_zero_for_every_rank(four_gpus, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert [device.choose("cuda", rank).index for rank in range(4)] == [0, 0, 0, 0]


def test_cpu_is_taken_where_it_is_asked_for_or_all_there_is(four_gpus, monkeypatch):
    assert device.choose("cpu", 0) == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert device.choose("auto", 0) == torch.device("cpu")
    assert not four_gpus


def test_a_gpu_that_is_not_there_is_refused_with_the_cure(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(ConfigError, match=r"train\.device: 'cuda' cannot be used here.*say auto or cpu"):
        device.choose("cuda", 0)
    with pytest.raises(ConfigError, match=r"'gpu' is not a device \(auto, cpu, cuda\)"):
        device.choose("gpu", 0)


@pytest.mark.parametrize("wanted", ["auto", "cuda"])
def test_a_gpu_that_counts_but_cannot_be_used_is_refused_with_the_cure(four_gpus, monkeypatch, wanted):
    def unusable(device: torch.device) -> None:
        raise RuntimeError("CUDA error: all CUDA-capable devices are busy or unavailable\nCompile with")

    monkeypatch.setattr(torch.cuda, "set_device", unusable)
    with pytest.raises(ConfigError) as caught:
        device.choose(wanted, 1)
    assert str(caught.value) == (
        "train.device: cuda:1 is there, but cannot be used: CUDA error: all CUDA-capable devices are busy or "
        "unavailable; say cpu"
    )
