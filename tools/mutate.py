"""Puts small bugs into mpidl one at a time, and counts how many the tests notice.

    python tools/mutate.py map               # once: which tests reach which lines, in the ranks that they start too;
                                             # or in pieces, each adding what --tests reach
    python tools/mutate.py run --until 200   # bugs drawn by --seed, each against tests that reach it; can be continued
    python tools/mutate.py control           # the tests that caught them, without any bug: none of them may fail
    python tools/mutate.py table             # how many were caught, and those that were not, with --judged's verdicts

All of it happens in a copy of the committed tree in --work; `coverage` must be installed. Of the tests that reach a
bug, those run first that are called after its module, and of those the ones that reach least; a bug is caught when one
fails or takes too long, and has survived when --patience seconds of tests, by their time without any bug, have passed.
Where tests waited for processors longer than they had them, they have to pass without the bug before they are believed;
`control` asks it of all that caught a bug, as often as it is called. A table may be of several --seed.

A file of verdicts has lines `MODULE:LINE KIND: equivalent, because …`, or `caught by …` where a test came later.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from mutations import Mutation, mutations
from patience import Patience
from reach import ROOT, Plan, environment, make_map

MARK = "MPIDL_MUTANT"
# What pytest ends with then.
NONE_SELECTED = 5
# What became of the tests of a bug that they noticed.
CAUGHT = ("failed", "late")
# Groups of modules and how many of a hundred bugs are drawn from each.
SHARES = {"comm": 22, "results": 18, "state.py": 6, "": 54}


def run_tests(tree: Path, tests: list[str], seconds: float, log: Path) -> tuple[str, bool]:
    """passed, failed, or late, and whether they lacked processors; whatever they have started is gone afterwards."""
    mark, clock = f"{os.getpid()}-{time.monotonic_ns()}", Patience(seconds)
    pid = os.fork()
    if pid == 0:
        # What takes long to import is here already; nothing of mpidl is, which would be another one than the tree's.
        with log.open("w") as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
        os.setsid()
        os.chdir(tree)
        os.environ.update(environment(tree), **{MARK: mark})
        sys.path[:0] = [str(tree)]
        sys.dont_write_bytecode = True
        import pytest

        os._exit(int(pytest.main(["-q", "-x", "-p", "no:cacheprovider", "--tb=line", *tests])))
    ended, status = os.waitpid(pid, os.WNOHANG)
    try:
        while not ended and not clock.over((pid, *marked(mark))):
            time.sleep(0.1)
            ended, status = os.waitpid(pid, os.WNOHANG)
    finally:
        if not ended:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        end_marked(mark)
    # None are selected where no test bears a name.
    well = os.waitstatus_to_exitcode(status) in (0, NONE_SELECTED) if ended else False
    return "late" if not ended else "passed" if well else "failed", clock.starved


def outcome_of(tree: Path, tests: list[str], seconds: float, log: Path, mutation: Mutated) -> str:
    """What these tests say of a bug."""
    while True:
        with mutation:
            outcome, starved = run_tests(tree, tests, seconds, log)
        if (
            outcome == "passed"
            or not starved
            or run_tests(tree, tests, seconds, log.with_name("control"))[0] == "passed"
        ):
            return outcome


def that_failed(log: Path, tests: list[str]) -> list[str]:
    """The test functions that pytest names as failed; all of these where it came to no such end."""
    named = re.findall(r"^(?:FAILED|ERROR) (tests/[^ \[\n]+)", log.read_text(errors="replace"), flags=re.M)
    return sorted(set(named)) or [test for test in tests if "::" in test]


@dataclass
class Mutated:
    """A module of the tree that has a bug while this lasts; `undo` is where its source is kept meanwhile."""

    tree: Path
    file: str
    mutation: Mutation
    undo: Path

    def __enter__(self) -> None:
        source = (self.tree / self.file).read_bytes()
        self.undo.write_bytes(self.file.encode() + b"\n" + source)
        (self.tree / self.file).write_bytes(self.mutation.apply(source))

    def __exit__(self, *_: object) -> None:
        undo_last(self.undo.parent)


def marked(mark: str) -> Iterator[int]:
    """The processes that have this mark in their environment."""
    wanted = f"{MARK}={mark}".encode()
    for entry in Path("/proc").iterdir():
        # It may be gone, or not ours to look into.
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and wanted in (entry / "environ").read_bytes().split(b"\0"):
                yield int(entry.name)


def end_marked(mark: str) -> None:
    """Ends them."""
    for process in marked(mark):
        with contextlib.suppress(OSError):
            os.kill(process, signal.SIGKILL)


def drawn(tree: Path, seed: int, without: list[str], parts: list[str]) -> Iterator[tuple[str, Mutation]]:
    """Bugs in an order by seed, group after group by their shares; or those of these parts alone, in turn."""
    rng = random.Random(seed)
    if parts:
        of_parts = [_of_part(tree, part) for part in parts]
        for pool in of_parts:
            rng.shuffle(pool)
        yield from (bug for turn in zip_longest(*of_parts) for bug in turn if bug is not None)
        return
    pools: dict[str, list[tuple[str, Mutation]]] = {group: [] for group in SHARES}
    for path in sorted((tree / "mpidl").rglob("*.py")):
        file = str(path.relative_to(tree))
        if any(file.startswith(f"mpidl/{part}") for part in without):
            continue
        top = Path(file).parts[1]
        pools[top if top in SHARES else ""] += [(file, mutation) for mutation in mutations(path.read_bytes())]
    for pool in pools.values():
        rng.shuffle(pool)
    for _ in range(sum(map(len, pools.values()))):
        yield pools[rng.choices(list(pools), [SHARES[group] * bool(pool) for group, pool in pools.items()])[0]].pop()


def _of_part(tree: Path, part: str) -> list[tuple[str, Mutation]]:
    files = sorted((tree / "mpidl" / part).rglob("*.py"))
    return [(str(path.relative_to(tree)), each) for path in files for each in mutations(path.read_bytes())]


def name_of(file: str, mutation: Mutation) -> str:
    return f"{file}:{mutation.first} {mutation.kind}"


def undo_last(work: Path) -> None:
    """Takes out the bug that a run which was killed has left in the tree."""
    if (work / "undo").exists():
        file, _, source = (work / "undo").read_bytes().partition(b"\n")
        (work / "tree" / file.decode()).write_bytes(source)
        (work / "undo").unlink()


def prepare(work: Path) -> None:
    """Makes ready for tests: what is slow to import is here, a signal leaves nothing running, the tree has no bug."""
    import h5py  # noqa: F401
    import hypothesis  # noqa: F401
    import networkx  # noqa: F401
    import pydantic  # noqa: F401
    import pytest  # noqa: F401
    import torch  # noqa: F401

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    undo_last(work)


def found(work: Path, seeds: list[int]) -> list[dict[str, Any]]:
    """What is known of the bugs of these seeds."""
    paths = [work / f"found-{seed}.jsonl" for seed in seeds]
    return [json.loads(line) for path in paths if path.exists() for line in path.read_text().splitlines()]


def run(work: Path, asked: argparse.Namespace) -> None:
    """Bug after bug, until so many are known."""
    prepare(work)
    (seed,) = asked.seed
    plan, known = Plan(work, asked.patience), {line["number"] for line in found(work, [seed])}
    for number, (file, mutation) in enumerate(drawn(plan.tree, seed, asked.without, asked.parts)):
        if number >= asked.until:
            return
        if number in known:
            continue
        source, bug = (plan.tree / file).read_bytes(), Mutated(plan.tree, file, mutation, work / "undo")
        begin, outcome, ran, tests = time.monotonic(), "not reached", 0, []
        for tests in plan.calls(file, mutation):
            outcome, ran = outcome_of(plan.tree, tests, plan.limit(tests), work / "log", bug), ran + len(tests)
            if outcome != "passed":
                break
        line = {"number": number, "name": name_of(file, mutation), "outcome": outcome, "tests": ran}
        line |= {"was": source[mutation.start : mutation.stop].decode(), "text": mutation.text}
        line["seconds"] = round(time.monotonic() - begin, 1)
        if outcome in CAUGHT:
            line["by"] = that_failed(work / "log", tests)
        with (work / f"found-{seed}.jsonl").open("a") as lines:
            lines.write(json.dumps(line) + "\n")
        print(f"{number:4} {outcome:11} {line['name']}: {line['was']!r} -> {line['text']!r}", flush=True)


def control(work: Path, seeds: list[int]) -> None:
    """Whether the tests that caught bugs pass without any, folder after folder."""
    prepare(work)
    plan, folders = Plan(work, 0), defaultdict(set)
    for line in found(work, seeds):
        for test in line.get("by", ()):
            folders[test.split("/")[1]].add(test)
    for folder, tests in sorted(folders.items()):
        called = sorted(tests)
        outcome, starved = run_tests(plan.tree, called, 2 * plan.limit(called), work / "control")
        line = {"folder": folder, "tests": len(called), "outcome": outcome, "starved": starved}
        if outcome != "passed":
            line["by"] = that_failed(work / "control", called)
        with (work / "control.jsonl").open("a") as lines:
            lines.write(json.dumps(line) + "\n")
        print(json.dumps(line), flush=True)


def table(work: Path, seeds: list[int], judged: Path | None) -> None:
    """How many bugs of each group were caught, and what became of the others."""
    verdicts = dict(line.split(": ", 1) for line in judged.read_text().splitlines() if ": " in line) if judged else {}
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    left = []
    for line in found(work, seeds):
        verdict = verdicts.get(line["name"], "")
        caught = line["outcome"] in CAUGHT
        top = Path(line["name"].partition(":")[0]).parts[1]
        fate = "caught" if caught else "equivalent" if verdict.startswith("equivalent") else "survived"
        if verdict.startswith("caught"):
            fate = "caught since"
        counts[top][fate] += 1
        if not caught:
            left.append(f"| `{line['name'].removeprefix('mpidl/')}` | `{line['was']}` → `{line['text']}` | {verdict} |")
    fates = ("caught", "caught since", "survived", "equivalent")
    print(f"| part | bugs | {' | '.join(fates)} | at first | now |\n|{'---|' * 8}")
    for part, count in [*sorted(counts.items()), ("all", sum(counts.values(), Counter()))]:
        noticeable = max(1, count.total() - count["equivalent"])
        shares = [f"{n / noticeable:.0%}" for n in (count["caught"], count["caught"] + count["caught since"])]
        print("|".join(["", part, *(str(n) for n in (count.total(), *(count[f] for f in fates))), *shares, ""]))
    print("\n| where | what | verdict |\n|---|---|---|", *sorted(left), sep="\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("map", "run", "control", "table"))
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "mutants")
    parser.add_argument("--seed", type=int, nargs="+", default=[1])
    parser.add_argument("--until", type=int, default=200, help="bugs in all")
    parser.add_argument("--without", nargs="*", default=[], help="parts of mpidl left out, as comm/gossip")
    parser.add_argument("--parts", nargs="*", default=[], help="bugs from these parts of mpidl alone, in turn")
    parser.add_argument("--tests", nargs="*", default=["tests"], help="for a map: which are run")
    parser.add_argument("--patience", type=float, default=60, help="seconds of tests for a bug")
    parser.add_argument("--judged", type=Path)
    asked = parser.parse_args()
    asked.work.mkdir(parents=True, exist_ok=True)
    work = asked.work.resolve()
    if asked.action == "map":
        make_map(work, asked.tests)
    elif asked.action == "run":
        run(work, asked)
    elif asked.action == "control":
        control(work, asked.seed)
    else:
        table(work, asked.seed, asked.judged)


if __name__ == "__main__":
    main()
