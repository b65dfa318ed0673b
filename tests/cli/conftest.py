"""A folder with a small configuration to run from."""

from __future__ import annotations

from pathlib import Path

import pytest

CONFIG = """
seed: 3
agents: 4
model: {name: logistic}
data: {name: digits, batch: 16}
algorithm: {name: dsgd, lr: 0.1}
graph: ring
train: {rounds: 4, device: cpu}
evaluate: {every: 2}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, holding `small.yaml`."""
    (tmp_path / "small.yaml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    return tmp_path
