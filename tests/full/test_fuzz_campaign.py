"""The campaign of forged and damaged files sees what it is there to see."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """
import os, sys
from pathlib import Path
from tools import fuzz_campaign, fuzz_cases
from mpidl.errors import DataError

def end(campaign):
    {end}

fuzz_cases.Campaign.use_sound = lambda campaign: None
fuzz_cases.Campaign.use = end
fuzz_campaign.SECONDS = fuzz_campaign.PATIENCE = 3
sys.argv[1:] = ["--kinds", "text", "--cases", "1", "--folder", sys.argv[1]]
sys.exit(fuzz_campaign.main())
"""


def campaign(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=550,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.full
@pytest.mark.parametrize(
    ("end", "told"),
    [
        ("return 0", "1      0      0"),
        ("print('mpidl: no', file=sys.stderr); return 2", "0        1      0"),
        ("return 1", "{'code 1': 1}"),
        ("1 / 0", "{'traceback': 1}"),
        ("print('half'); print('mpidl: no', file=sys.stderr); return 2", "{'more than a sentence': 1}"),
        ("os.abort()", f"{{'signal {signal.SIGABRT.value}': 1}}"),
        ("os.system('true')", "{'forbidden': 1}"),
        ("Path('/var/tmp/elsewhere').write_text('')", "{'forbidden': 1}"),
        ("import time; time.sleep(60)", "{'hangs': 1}"),
    ],
)
def test_the_campaign_sees_how_a_case_ends(tmp_path: Path, end: str, told: str) -> None:
    text = re.sub(r" +", " ", campaign("-c", PROGRAM.format(end=end), str(tmp_path)))
    assert re.sub(r" +", " ", told) in text


@pytest.mark.full
def test_every_kind_has_its_cases(tmp_path: Path) -> None:
    lines = campaign("tools/fuzz_campaign.py", "--cases", "2", "--folder", str(tmp_path)).splitlines()
    assert len(lines) > 20 and all(re.search(r" 2 +\d+ +\d+ +0 ", line) for line in lines[1:]), lines
