"""What tests of jobs share: a folder to submit from, in which schedulers are looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

SMALL = """
agents: 8
model: {name: logistic}
data: {name: digits, batch: 16}
algorithm: {name: dsgd, lr: 0.1}
graph: ring
train: {rounds: 4, device: cpu}
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a configuration, a `bin` where alone schedulers are looked for, and no profiles of sites."""
    (tmp_path / "small.yaml").write_text(SMALL)
    (tmp_path / "bin").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "etc"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path
