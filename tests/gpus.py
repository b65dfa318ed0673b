"""The GPUs that tests find here, of whatever maker torch was built for."""

from __future__ import annotations

import pytest

from mpidl import accelerator

COUNT = accelerator.count()
KIND = (COUNT and accelerator.kind()) or "cuda"
"""What torch calls them; a name all the same where there is none, for what is then skipped."""
needs_gpu = [pytest.mark.gpu, pytest.mark.skipif(not COUNT, reason="there is no GPU here")]


def of_rank(rank: int) -> str:
    """Ranks take them in turn."""
    return f"{KIND}:{rank % COUNT}"
