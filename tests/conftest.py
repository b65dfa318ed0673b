"""pytest's side of tests under MPI (`ranks.py`): collects the cases, launches them once per folder, reports each."""

from __future__ import annotations

import json
import pickle
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from tests import mpirun as launching
from tests.ranks import CASE_SECONDS, Case

# A launch ends early only where a case left a rank stuck. More of them than this in a folder: the rest is not run.
LAUNCHES = 6
HERE = Path(__file__).parent
START_SECONDS = 90

Outcome = tuple[str, str]


@pytest.fixture
def mpirun() -> Callable[..., subprocess.CompletedProcess[str]]:
    """`mpirun(ranks, argv, timeout=60, env=None)` launches a command alone: for tests of death and signals."""
    return launching.run


@pytest.fixture
def comm(request: pytest.FixtureRequest) -> int:
    """Exists on the ranks; here it is their number."""
    return request.param


def pytest_configure() -> None:
    # A shell has what it starts in the background ignore these, nohup another, and so would whatever the tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="also run tests that take long")
    parser.addoption(
        "--starting", choices=("ranks", "none"), help="run only tests that start ranks, or only those that start none"
    )
    parser.addoption(
        "--second-mpi",
        action="store_true",
        help="run only tests that start ranks; unless with --full, each with one choice of ranks and parameters",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    ranks = getattr(metafunc.function, "on_ranks", None)
    if ranks:
        metafunc.parametrize("comm", ranks, indirect=True, ids=[f"{n} rank{'s' * (n > 1)}" for n in ranks])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    second, starting = config.getoption("--second-mpi"), config.getoption("--starting")
    if second or starting:
        chosen = [item for item in items if _starts_ranks(item) is (second or starting == "ranks")]
        kept = set(_each_once(chosen) if second and not config.getoption("--full") else chosen)
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = [item for item in items if item in kept]
    if not config.getoption("--full"):
        for item in items:
            if item.get_closest_marker("full"):
                item.add_marker(pytest.mark.skip(reason="takes long; --full runs it"))


def _starts_ranks(item: pytest.Item) -> bool:
    return (
        hasattr(getattr(item, "function", None), "on_ranks")
        or "mpirun" in getattr(item, "fixturenames", ())
        or item.get_closest_marker("mpi") is not None
    )


def _each_once(items: list[pytest.Item]) -> Iterable[pytest.Item]:
    """Of every test that does not take long its first choice of parameters, on the most ranks that it asks for.

    Only where the MPI can make a difference: what algorithms compute, what the README shows and campaigns of kills are
    the same under any.
    """
    found: dict[tuple[Path, str], pytest.Item] = {}
    for item in items:
        of = item.path.relative_to(HERE)
        numbers = of.parts[0] == "algorithms" and of.name != "test_conformance.py"
        if item.get_closest_marker("full") or numbers or of.parts[0] in ("full", "test_readme.py"):
            continue
        name = (item.path, getattr(item, "originalname", item.name))
        if name not in found or _ranks(item) > _ranks(found[name]):
            found[name] = item
    return found.values()


def _ranks(item: pytest.Item) -> int:
    return item.callspec.params.get("comm", 0) if hasattr(item, "callspec") else 0


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if not hasattr(pyfuncitem.function, "on_ranks"):
        return None
    outcomes = pyfuncitem.session.stash.setdefault(_OUTCOMES, {})
    if pyfuncitem.nodeid not in outcomes:
        outcomes.update(_launch_folder(pyfuncitem))
    outcome, text = outcomes[pyfuncitem.nodeid]
    if outcome == "skipped":
        pytest.skip(text)
    if outcome != "passed":
        pytest.fail(text, pytrace=False)
    return True


_OUTCOMES = pytest.StashKey[dict[str, Outcome]]()


def _launch_folder(first: pytest.Function) -> dict[str, Outcome]:
    """Runs this case and all selected ones of its folder that come after it."""
    items = [
        item
        for item in first.session.items
        if item.path.parent == first.path.parent
        and hasattr(getattr(item, "function", None), "on_ranks")
        and not _skipped(item)
    ]
    folder = first.config._tmp_path_factory.mktemp(f"ranks-{first.path.parent.name}")  # type: ignore[attr-defined]
    left = {item.nodeid: _case(item, folder / f"case-{number}") for number, item in enumerate(items)}
    outcomes: dict[str, Outcome] = {}
    for attempt in range(LAUNCHES):
        here = folder / str(attempt)
        here.mkdir()
        found = _launch(list(left.values()), here)
        outcomes.update(found)
        left = {name: case for name, case in left.items() if name not in found}
        if not left:
            return outcomes
    text = f"not run: {LAUNCHES} launches of this folder ended early"
    return outcomes | dict.fromkeys(left, ("failed", text))


def _skipped(item: pytest.Item) -> bool:
    from _pytest.skipping import evaluate_skip_marks

    return evaluate_skip_marks(item) is not None


def _case(item: pytest.Function, folder: Path) -> Case:
    if item.cls is not None:
        raise pytest.UsageError(f"{item.nodeid}: a test on ranks must be a function of its module")
    parameters = {name: value for name, value in item.callspec.params.items() if name != "comm"}
    others = set(item.fixturenames) - set(parameters) - {"comm", "tmp_path", "request"}
    unknown = others & set(item._fixtureinfo.argnames)
    if unknown:
        raise pytest.UsageError(
            f"{item.nodeid}: a test on ranks can take no fixture but tmp_path: {', '.join(unknown)}"
        )
    place = None
    if "tmp_path" in item._fixtureinfo.argnames:
        place = str(folder)
        folder.mkdir()
    module = ".".join(item.path.relative_to(launching.ROOT).with_suffix("").parts)
    ranks = item.callspec.params["comm"]
    return Case(item.nodeid, module, item.originalname, ranks, parameters, place)


def _launch(cases: list[Case], folder: Path) -> dict[str, Outcome]:
    """One mpirun over the cases; those without an outcome were not reached."""
    (folder / "cases.pickle").write_bytes(pickle.dumps(cases))
    with (folder / "output").open("w") as output:
        process = launching.start(
            max(case.ranks for case in cases),
            [sys.executable, "-m", "tests.ranks", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            late = not _wait(process, folder)
        finally:
            launching.end(process)
    return _outcomes(cases, folder, late, process.returncode)


def _wait(process: subprocess.Popen, folder: Path) -> bool:
    """Whether the launch ended by itself; it is late when no rank has written a result for too long."""
    size, allowed, since = -1, START_SECONDS, time.monotonic()
    while process.poll() is None:
        written = sum(path.stat().st_size for path in folder.glob("rank-*.jsonl"))
        if written != size:
            allowed = CASE_SECONDS + 5 if written else START_SECONDS
            size, since = written, time.monotonic()
        if time.monotonic() - since > allowed:
            return False
        time.sleep(0.05)
    return True


def _outcomes(cases: list[Case], folder: Path, late: bool, code: int) -> dict[str, Outcome]:
    """What became of each case that began, from the lines that the ranks have written."""
    lines: dict[str, dict[int, dict[str, str]]] = defaultdict(dict)
    for path in sorted(folder.glob("rank-*.jsonl")):
        for text in path.read_text().splitlines():
            line = json.loads(text)
            lines[line["case"]][int(path.stem.removeprefix("rank-"))] = line
    outcomes = {}
    for case in cases:
        if case.name in lines:
            outcomes[case.name] = _outcome(case, lines[case.name], folder, late, code)
    if not outcomes:
        text = f"mpirun ended with exit code {code} before the first case\n{_tail(folder)}"
        return {case.name: ("failed", text) for case in cases}
    # mpirun itself may crash while it ends [open-mpi/ompi#13650]; for a rank that does, it returns another code.
    if (
        code not in (0, -signal.SIGSEGV)
        and len(outcomes) == len(cases)
        and all(outcome != "failed" for outcome, _ in outcomes.values())
    ):
        text = f"all cases passed, but the launch ended with exit code {code}\n{_tail(folder)}"
        outcomes[cases[-1].name] = ("failed", text)
    return outcomes


def _outcome(case: Case, ranks: dict[int, dict[str, str]], folder: Path, late: bool, code: int) -> Outcome:
    for outcome in ("failed", "skipped"):
        told = {rank: line["text"] for rank, line in sorted(ranks.items()) if line["outcome"] == outcome}
        if told:
            rank, text = next(iter(told.items()))
            where = ", ".join(map(str, told))
            return (
                outcome,
                text if outcome == "skipped" else f"{text}\non rank {rank} of {case.ranks} (failed on {where})",
            )
    unfinished = [rank for rank in range(case.ranks) if ranks.get(rank, {}).get("outcome") != "passed"]
    if not unfinished:
        return "passed", ""
    names = ", ".join(map(str, unfinished))
    what = f"hung for {CASE_SECONDS} s" if late else f"ended the launch (exit code {code})"
    stacks = [f"rank {rank} stood at:\n{(folder / f'stack-{rank}').read_text()}" for rank in unfinished] if late else []
    return "failed", "\n".join([f"the case {what}; unfinished on rank {names}", *stacks, _tail(folder)])


def _tail(folder: Path) -> str:
    return "output of the launch:\n" + "\n".join((folder / "output").read_text().splitlines()[-40:])
