"""Readers of configurations and of data, under a fuzzer that follows which code is reached (atheris, by libFuzzer)."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.data.formats.fuzz import KINDS

SECONDS = 20


@pytest.mark.full
@pytest.mark.parametrize("kind", ["configuration", *KINDS])
def test_what_reaches_new_code_ends_in_a_sentence_or_in_nothing(tmp_path: Path, kind: str) -> None:
    pytest.importorskip("atheris", reason="atheris has no wheel for this platform or Python")
    command = [sys.executable, "-m", "tests.full.guided", kind, str(tmp_path), str(SECONDS)]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=SECONDS + 100, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    runs, reached = re.search(r"Done (\d+) runs", done.stderr), re.findall(r"cov: (\d+)", done.stderr)
    assert runs is not None and int(runs[1]) > 100
    # It is no fuzzer's guidance where the code is not seen.
    assert int(reached[-1]) > 20, done.stderr[-3000:]
