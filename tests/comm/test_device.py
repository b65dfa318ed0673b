"""A rank's device is chosen from what it can see, of any maker, and what narrows that is left alone."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest
import torch

from mpidl import accelerator, makers
from mpidl.comm.start import device
from mpidl.errors import ConfigError


@pytest.fixture(params=["cuda", "xpu"])
def four_gpus(request, monkeypatch):
    """Stands in for a host with four GPUs of one kind; records which one is made current."""
    current = []
    zeros = torch.zeros
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device(request.param))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 4)
    monkeypatch.setattr(torch.accelerator, "set_device_index", current.append)
    monkeypatch.setattr(torch, "zeros", lambda *shape, device: zeros(*shape))
    monkeypatch.setattr(torch.xpu, "get_device_properties", lambda device: SimpleNamespace(has_fp64=True))
    monkeypatch.setattr(torch.xpu, "get_device_name", lambda device: "Arc")
    return current


@pytest.fixture
def built(monkeypatch):
    """`built(maker)`: torch, as it were, is built for that maker's GPUs, and sees none."""

    def built_for(maker: makers.Maker | None) -> None:
        build = maker and makers.Build(maker, "6.4")
        monkeypatch.setattr(makers, "torch_build", lambda: build)
        named = maker and torch.device(maker.device)
        monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: named)
        monkeypatch.setattr(torch.accelerator, "device_count", lambda: 0)

    for maker in makers.MAKERS:
        for variable in maker.variables:
            monkeypatch.delenv(variable, raising=False)
    return built_for


def test_ranks_of_a_host_take_its_gpus_in_turn(four_gpus, monkeypatch):
    for name in ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK"):
        monkeypatch.setenv(name, "4,5,6,7")
    before = dict(os.environ)
    kind = accelerator.kind()
    chosen = [device.choose("auto", rank) for rank in range(6)]
    assert chosen == [torch.device(kind, index) for index in (0, 1, 2, 3, 0, 1)] == four_gpus
    assert dict(os.environ) == before


def test_a_single_visible_gpu_is_number_zero_for_every_rank(four_gpus, monkeypatch):
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 1)
    assert [device.choose(accelerator.kind(), rank).index for rank in range(4)] == [0, 0, 0, 0]


def test_cpu_is_taken_where_it_is_asked_for_or_all_there_is(four_gpus, monkeypatch):
    assert device.choose("cpu", 0) == torch.device("cpu")
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 0)
    assert device.choose("auto", 0) == torch.device("cpu")
    # Of Apple's, say.
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("mps"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 1)
    assert device.choose("auto", 0) == torch.device("cpu")
    assert not four_gpus


@pytest.mark.parametrize(
    ("maker", "wanted", "hidden", "why"),
    [
        (None, "cuda", {}, "torch was installed for the CPU alone"),
        (None, "xpu", {}, "torch was installed for the CPU alone"),
        (makers.NVIDIA, "xpu", {}, "torch was built for GPUs of NVIDIA (CUDA 6.4)"),
        (makers.INTEL, "cuda", {}, "torch was built for GPUs of Intel (SYCL 6.4)"),
        (makers.AMD, "cuda", {}, "torch, built for AMD (ROCm 6.4), sees no GPU"),
        (
            makers.AMD,
            "cuda",
            {"ROCR_VISIBLE_DEVICES": "9", "ZE_AFFINITY_MASK": "1"},
            "torch, built for AMD (ROCm 6.4), sees no GPU with ROCR_VISIBLE_DEVICES=9",
        ),
        (
            makers.NVIDIA,
            "cuda",
            {"CUDA_VISIBLE_DEVICES": ""},
            "torch, built for NVIDIA (CUDA 6.4), sees no GPU with CUDA_VISIBLE_DEVICES=",
        ),
    ],
)
def test_a_gpu_that_is_not_there_is_refused_with_the_reason_and_the_cure(
    built, monkeypatch, maker, wanted, hidden, why
):
    built(maker)
    for name, value in hidden.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as caught:
        device.choose(wanted, 0)
    assert str(caught.value) == (
        f"train.device: {wanted!r} cannot be used here: {why}; say auto or cpu, as in -s train.device=auto"
    )


def test_a_word_that_is_no_device_is_refused_with_those_that_are():
    with pytest.raises(ConfigError, match=r"'gpu' is not a device \(auto, cpu, cuda, xpu\)"):
        device.choose("gpu", 0)


@pytest.mark.parametrize("wanted", ["auto", "its kind"])
def test_a_gpu_that_counts_but_cannot_be_used_is_refused_with_the_cure(four_gpus, monkeypatch, wanted):
    def unusable(device: torch.device) -> None:
        raise RuntimeError("CUDA error: all CUDA-capable devices are busy or unavailable\nCompile with")

    monkeypatch.setattr(torch.accelerator, "set_device_index", unusable)
    kind = accelerator.kind()
    with pytest.raises(ConfigError) as caught:
        device.choose(kind if wanted == "its kind" else wanted, 1)
    assert str(caught.value) == (
        f"train.device: {kind}:1 is there, but cannot be used: CUDA error: all CUDA-capable devices are busy or "
        "unavailable; say cpu"
    )


@pytest.mark.parametrize("four_gpus", ["xpu"], indirect=True)
def test_a_gpu_for_graphics_without_float64_is_taken_by_nobody(four_gpus, monkeypatch):
    assert accelerator.usable() == 4
    monkeypatch.setattr(torch.xpu, "get_device_properties", lambda device: SimpleNamespace(has_fp64=False))
    monkeypatch.setattr(torch.xpu, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_device_index", lambda: 0)
    assert accelerator.usable() == 0
    # Which it has begun to use, so as to ask it.
    assert device.choose("auto", 0) == device.resolve("auto") == torch.device("cpu")
    with pytest.raises(ConfigError, match=r"xpu:0 \(Arc\) does not compute in float64, .*; say auto or cpu"):
        device.choose("xpu", 0)


@pytest.mark.parametrize("kind", ["cuda", "xpu"])
def test_what_is_in_use_is_what_auto_and_the_kind_mean_from_then_on(monkeypatch, kind):
    module = getattr(torch, kind)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device(kind))
    monkeypatch.setattr(module, "is_initialized", lambda: False)
    assert device.resolve("auto") == torch.device("cpu")
    monkeypatch.setattr(module, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_device_index", lambda: 2)
    monkeypatch.setattr(torch.xpu, "get_device_properties", lambda device: SimpleNamespace(has_fp64=True))
    assert device.resolve("auto") == device.resolve(kind) == torch.device(kind, 2)
    assert device.resolve(f"{kind}:1") == torch.device(kind, 1) and device.resolve("cpu") == torch.device("cpu")


def test_a_gpu_is_known_by_its_number_in_hardware_or_by_what_narrows_the_view(built, monkeypatch):
    built(makers.INTEL)
    monkeypatch.setattr(torch.xpu, "get_device_properties", lambda device: SimpleNamespace(uuid=f"of {device}"))
    assert device.identity(torch.device("xpu", 1)) == "of xpu:1" and device.identity(torch.device("cpu")) == ""
    # An older torch does not tell.
    monkeypatch.setattr(torch.xpu, "get_device_properties", lambda device: SimpleNamespace())
    found = set()
    for mask in ("2", "3"):
        monkeypatch.setenv("ZE_AFFINITY_MASK", mask)
        found.add(device.identity(torch.device("xpu", 0)))
    assert len(found) == 2
