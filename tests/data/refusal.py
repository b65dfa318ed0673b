"""What a refusal of a damaged file must be like."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import pytest

from mpidl.errors import DataError


def refused(action: Callable[[], object], most: int = 20_000_000) -> str:
    """The sentence with which the action is refused, having taken less than `most` bytes of memory."""
    tracemalloc.start()
    try:
        with pytest.raises(DataError) as caught:
            action()
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()
    assert "\n" not in str(caught.value)
    return str(caught.value)
