"""Ranks with a GPU and ranks without are not mixed."""

from __future__ import annotations

import pytest

from mpidl.errors import ConfigError


class Together:
    """A communicator of two ranks, the other of which has given its word already."""

    def __init__(self, other: tuple[str, str]) -> None:
        self.other = other

    def allgather(self, mine: tuple[str, str]) -> list[tuple[str, str]]:
        return [mine, self.other]


def test_a_gpu_on_some_ranks_only_is_refused_in_one_sentence() -> None:
    from mpidl.comm.start.startup import _refuse_mixture

    _refuse_mixture(Together(("cpu", "there")), "cpu")
    with pytest.raises(ConfigError, match="train.device: 'auto' finds a GPU on there and none on "):
        _refuse_mixture(Together(("xpu", "there")), "cpu")
    with pytest.raises(ConfigError, match="train.device: 'auto' finds xpu on there and cuda on .*of one kind"):
        _refuse_mixture(Together(("xpu", "there")), "cuda")
