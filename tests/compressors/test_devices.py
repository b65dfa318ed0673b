"""What is done on a GPU, by torch's operations alone: here on a CPU, and on a GPU where there is one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from mpidl.compressors import COMPRESSORS, bits
from mpidl.compressors.selection import largest
from tests.compressors import twins
from tests.compressors.cases import DRAW, SETTINGS, label, layout_of, rows
from tests.gpus import KIND, needs_gpu

DEVICES = [
    "cpu",
    pytest.param(KIND, marks=needs_gpu),
]


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors lie where numpy cannot come."""

    def refuse(tensor: torch.Tensor, **_: Any) -> None:
        raise TypeError("numpy has no access to what lies on a device")

    monkeypatch.setattr(bits, "by_numpy", lambda device: False)
    monkeypatch.setattr(torch.Tensor, "numpy", refuse)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("compressor", SETTINGS, ids=label)
@pytest.mark.parametrize("size", [0, 7, 5003])
def test_it_gives_what_its_twin_gives_without_numpy(
    compressor: dict[str, Any], size: int, device: str, elsewhere: None
) -> None:
    layout, row = layout_of(size), rows(size, torch.float64)
    codec = COMPRESSORS.parse(compressor).codec(layout, row.dtype, torch.device(device))
    memory = {name: torch.zeros(shape, dtype=row.dtype, device=device) for name, shape in codec.memory.items()}
    message = torch.full((codec.nbytes,), 0xAB, dtype=torch.uint8, device=device)
    codec.pack(row.to(device), message, DRAW, memory)
    result = torch.empty_like(row, device=device)
    codec.unpack(message, result, DRAW)
    added = torch.zeros_like(result)
    codec.add(message, added, 1.0, DRAW)
    assert torch.equal(result, added)
    expected, given = twins.compressed(np.array(row.tolist()), DRAW, layout, **compressor), np.array(result.tolist())
    if compressor["name"] != "qsgd":
        np.testing.assert_allclose(given, expected, rtol=1e-12, atol=1e-12)
        return
    # Other random numbers: the multiple above or below, in the mean that of the row.
    step = np.abs(expected[expected != 0]).max(initial=0)
    assert np.abs(given - expected).max(initial=0) <= 1.001 * step
    if size == 7 and not compressor.get("contractive"):
        total = torch.zeros_like(result)
        for t in range(250):
            draw = replace(DRAW, index=t)
            codec.pack(row.to(device), message, draw)
            codec.add(message, total, 4e-3, draw)
        top = float(row.norm()) / (2 ** (compressor["bits"] - 1) - 1)
        assert float((total.cpu() - row).abs().max()) <= 0.2 * top


@pytest.mark.parametrize("device", DEVICES)
def test_topk_is_exact_without_numpy(device: str, elsewhere: None) -> None:
    values = np.random.default_rng(0).integers(-9, 10, 1000).astype(np.float32)
    for k in (1, 10, 500, 1000):
        expected = np.sort(np.argsort(-np.abs(values), kind="stable")[:k])
        assert largest(torch.from_numpy(values).to(device), k).tolist() == expected.tolist()
