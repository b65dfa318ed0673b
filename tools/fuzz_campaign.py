"""Forged and damaged files through everything that reads them: run files, configurations, data files of every format.

    python tools/fuzz_campaign.py                         # all of it, into a folder that a second call goes on from
    python tools/fuzz_campaign.py --kinds show hdf5 --cases 200
    python tools/fuzz_campaign.py --case show 17          # one case again, with its output

Each case is a sound file, changed at random by a seed and the number of the case, and read by a child of this process
with limits of processor time, memory and patience. It must end with an exit code that the README names, in silence or
in one sentence; nothing that is read may start a program, reach a network, or write outside its folder. The last
result is kept beside this file, as fuzz_campaign.txt.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import resource
import select
import signal
import sys
import tempfile
import time
import zlib
from pathlib import Path
from typing import NoReturn

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from mpidl.errors import ExitCode  # noqa: E402
from tools.fuzz_cases import CASES, VERIFY, Campaign  # noqa: E402
from tools.patience import Patience  # noqa: E402
from tools.processes import descendants  # noqa: E402

SECONDS, PATIENCE, MEMORY = 40, 90, 4 * 2**30
# Cases of a kind, before some of the next are tried.
TURN = 100
# Between two looks at a child that takes long, in seconds.
LOOK = 0.2
# What no file may bring about; Python tells an audit hook of each before it happens.
FORBIDDEN = {"os.system", "os.exec", "os.posix_spawn", "os.spawn", "subprocess.Popen", "socket.connect", "pty.spawn"}
CODES = {int(code) for code in ExitCode} - {ExitCode.INTERNAL}


def child(campaign: Campaign, output: int) -> NoReturn:
    """The whole life of a case."""
    os.chdir(campaign.folder)
    for descriptor in (1, 2):
        os.dup2(output, descriptor)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY, mapped + MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    allowed = (str(campaign.folder), os.devnull, tempfile.gettempdir())

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        writing = event == "open" and isinstance(arguments[0], str) and str(arguments[1])[:1] in ("w", "a", "x")
        if event in FORBIDDEN or (writing and not os.path.realpath(str(arguments[0])).startswith(allowed)):
            os.write(2, f"*** forbidden: {event} {arguments!r:.200}\n".encode())
            os._exit(99)

    sys.addaudithook(watch)
    code = 98
    try:
        code = campaign.use()
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def run(campaign: Campaign, seed: int, case: int) -> dict[str, object]:
    """How one case ended."""
    campaign.make(np.random.default_rng([seed, zlib.crc32(campaign.kind.encode()), case]))
    log = campaign.folder / "output"
    with log.open("wb") as output:
        began = time.monotonic()
        process = os.fork()
        if not process:
            child(campaign, output.fileno())
        descriptor = os.pidfd_open(process)
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        patience, late = Patience(PATIENCE), False
        while not late and not poll.poll(LOOK * 1000):
            late = patience.over(descendants(process))
        if late:
            os.kill(process, signal.SIGKILL)
        _, status, used = os.wait4(process, 0)
        os.close(descriptor)
    text = log.read_text(errors="replace")
    return {
        "case": case,
        "end": "hangs" if late else ended(status, text, campaign.kind == VERIFY),
        "seconds": round(time.monotonic() - began, 2),
        "megabytes": used.ru_maxrss // 1024,
        "text": text[-400:],
    }


def ended(status: int, text: str, tells: bool) -> str:
    """An exit code, or what is wrong; `tells`: what is damaged is the answer of this command, and no error."""
    if os.WIFSIGNALED(status):
        return f"signal {os.WTERMSIG(status)}"
    code = os.WEXITSTATUS(status)
    if code == 99:
        return "forbidden"
    if "Traceback" in text or code == 98:
        return "traceback"
    if code not in CODES:
        return f"code {code}"
    if code and not (text.count("\n") == 1 and text.endswith("\n") and (tells or text.startswith("mpidl: "))):
        return "more than a sentence"
    return "read" if code == 0 else "refused"


def table(folder: Path) -> str:
    """What has been found so far, a line for each kind."""
    lines = ["kind                  cases   read  refused  wrong  median s  most s  most MB"]
    for kind in CASES:
        path = folder / f"{kind}.jsonl"
        found = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        if not found:
            continue
        ends = collections.Counter(case["end"] for case in found)
        wrong = {end: count for end, count in ends.items() if end not in ("read", "refused")}
        seconds = sorted(case["seconds"] for case in found)
        crashed = sum("HDF5 crashes on it" in case["text"] for case in found)
        endless = sum("comes to no end" in case["text"] for case in found)
        lines.append(
            f"{kind:20} {len(found):6} {ends['read']:6} {ends['refused']:8} {sum(wrong.values()):6} "
            f"{seconds[len(seconds) // 2]:9.2f} {seconds[-1]:7.2f} {max(case['megabytes'] for case in found):8}"
            + (f"  {crashed} of the refused crash HDF5, {endless} keep it busy" if crashed + endless else "")
            + (f"  {wrong}" if wrong else "")
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", choices=CASES, default=list(CASES), metavar="KIND")
    parser.add_argument("--cases", type=int, help="of each kind; default: 2,000, and 500 of data files")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "fuzz", help="what is known of each case")
    parser.add_argument("--case", nargs=2, metavar=("KIND", "CASE"), help="one case again, with its output")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    # Also then, what lies in the temporary folder is removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary).resolve()
        if options.case:
            kind, case = options.case
            print(json.dumps(run(Campaign(kind, place / "case"), options.seed, int(case)), indent=1))
            for path in Campaign(kind, place / "case").folder.iterdir():
                print(path)
            return 0
        campaigns: dict[str, Campaign] = {}
        for first in range(0, max(options.cases or CASES[kind] for kind in options.kinds), TURN):
            for kind in options.kinds:
                path, last = options.folder / f"{kind}.jsonl", min(first + TURN, options.cases or CASES[kind])
                done = len(path.read_text().splitlines()) if path.exists() else 0
                if done < last and kind not in campaigns:
                    campaigns[kind] = Campaign(kind, place / kind.replace(" ", "-"))
                with path.open("a") as log:
                    for case in range(done, last):
                        log.write(json.dumps(run(campaigns[kind], options.seed, case)) + "\n")
                        log.flush()
    print(table(options.folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
