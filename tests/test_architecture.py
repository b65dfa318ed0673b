"""The shape of the source: who imports whom, who may touch what, how long a file may be, what lies where."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "mpidl"
FILES = sorted(PACKAGE.rglob("*.py"))

# From top to bottom; what stands on one line are neighbours that do not import each other.
LAYERS = (
    ("__main__",),
    ("cli",),
    ("launch",),
    ("analysis", "selftest"),
    ("experiment",),
    ("training",),
    ("results",),
    ("algorithms",),
    ("comm",),
    ("compressors",),
    ("graphs",),
    ("data", "models"),
    ("state", "parameters"),
    ("declarations",),
    ("rows", "layout", "spill"),
    ("registry",),
    ("config",),
    ("seeding", "pictures", "metrics", "notation", "keys"),
    ("sentences",),
    ("errors", "files", "spoken", "task", "makers", "accelerator"),
)
HEIGHT = {name: len(LAYERS) - place for place, names in enumerate(LAYERS) for name in names}

# The rooms of comm, in the same order: a folder, or a module of its own.
ROOMS = (
    ("benchmark", "probe"),
    ("gossip", "reduce"),
    ("combine",),
    ("moves", "once", "outliving"),
    ("world",),
    ("board",),
    ("agreement", "start", "settings", "placement", "meters", "sharing", "tree"),
    ("survivors",),
)
ROOM_HEIGHT = {name: len(ROOMS) - place for place, names in enumerate(ROOMS) for name in names}

# A library, and the only parts of the package that may import it.
RESERVED = {"mpi4py": {"comm", "launch"}, "h5py": {"results", "data"}, "click": {"cli"}}

# What a configuration does not need before the ranks start, and what takes long to import.
HEAVY = {"torch", "h5py", "networkx", "matplotlib", "mpi4py.MPI", "scipy"}

TOP_LEVEL = {
    *("setup.py", "mpidl", "jobs", "configs", "tests", "tools", "LICENSE", "pyproject.toml"),
    *("README.md", "CONTRIBUTING.md", "CHANGELOG.md"),
    # What running and installing leaves behind, none of it in version control.
    *("runs", "build", "dist", "mpidl.egg-info"),
}

LONGEST = 300


def part_of(path: Path) -> str:
    """The first name below mpidl: a module at the top or a folder."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[str]:
    """The full name of every module (or name in it) that a file imports, in functions and for types too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import on line {node.lineno}"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_lower_layer_never_imports_a_higher_one(path: Path) -> None:
    here = part_of(path)
    if here == "__init__":
        targets = {name for name in imported(path) if name.startswith("mpidl.")}
        assert not targets, f"mpidl/__init__.py imports {targets}"
        return
    assert here in HEIGHT, f"{here} has no place in LAYERS"
    for name in imported(path):
        words = name.split(".")
        there = words[1] if words[0] == "mpidl" and len(words) > 1 else None
        if there in HEIGHT and there != here:
            assert HEIGHT[there] < HEIGHT[here], f"{here} imports {name}, which stands above or beside it"


@pytest.mark.parametrize(
    "path", sorted((PACKAGE / "comm").rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_a_lower_room_of_comm_never_imports_a_higher_one(path: Path) -> None:
    here = path.relative_to(PACKAGE / "comm").parts[0].removesuffix(".py")
    assert here in ROOM_HEIGHT or here == "__init__", f"comm/{here} has no place in ROOMS"
    for name in imported(path):
        there = name.removeprefix("mpidl.comm.").partition(".")[0] if name.startswith("mpidl.comm.") else None
        if there in ROOM_HEIGHT and there != here:
            assert ROOM_HEIGHT[there] < ROOM_HEIGHT[here], f"comm/{here} imports {name}, which is above or beside it"


def test_no_files_import_each_other_in_a_circle_even_for_types() -> None:
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in FILES}

    def module(name: str) -> str:
        return name if name in names else module(name.rpartition(".")[0])

    graph = {
        name: {module(target) for target in imported(path) if target.split(".")[0] == "mpidl"} - {name}
        for name, path in names.items()
    }
    # Raises CycleError, which names the circle.
    assert len(list(TopologicalSorter(graph).static_order())) == len(FILES)


@pytest.mark.parametrize("library", RESERVED)
def test_a_reserved_library_is_imported_only_where_it_belongs(library: str) -> None:
    users = {part_of(path) for path in FILES for name in imported(path) if name.split(".")[0] == library}
    assert users <= RESERVED[library]


LIST = """
import mpi4py
mpi4py.rc.initialize = mpi4py.rc.finalize = False
from mpi4py import MPI
print(*(name for name in dir(MPI.Intracomm) if name[0] != "_"))
"""
# Names of mpi4py's communicators that are words for other things above comm: of `World`, of click and of plain data.
ELSEWHERE = {*("Abort", "barrier", "gather", "send"), *("group", "info", "name", "rank", "size", "topology")}
COMMUNICATOR_METHODS = (
    set(subprocess.run([sys.executable, "-c", LIST], capture_output=True, text=True, check=True).stdout.split())
    - ELSEWHERE
)


def raw_uses(source: str) -> list[str]:
    """What code does with a communicator other than hand it on as `comm` or read its rank and size."""
    tree = ast.parse(source)
    reading = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in ("rank", "size") and isinstance(node.value, ast.Name)
    }
    # `x: Communicator` and `comm = start()` give it that name, `f(comm)` and `f(key=comm)` hand it on.
    handed_on = {
        id(argument)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and not (isinstance(node.func, ast.Name) and node.func.id == "getattr")
        for argument in [*node.args, *(keyword.value for keyword in node.keywords)]
    }
    uses = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and (node.attr in COMMUNICATOR_METHODS or node.attr.strip("_") == "comm"):
            uses.append(f"{node.lineno}: .{node.attr}")
        elif isinstance(node, ast.Constant) and node.value in COMMUNICATOR_METHODS | {"comm", "_comm"}:
            uses.append(f"{node.lineno}: {node.value!r}")
        elif isinstance(node, ast.Name) and node.id == "comm" and isinstance(node.ctx, ast.Load):
            if id(node) not in reading | handed_on:
                uses.append(f"{node.lineno}: comm")
        elif isinstance(node, ast.arg) and node.arg != "comm" and "Communicator" in ast.unparse(node):
            uses.append(f"{node.lineno}: {node.arg}")
    return uses


def test_nothing_above_comm_uses_a_raw_communicator() -> None:
    """It may be handed on, and its rank and size be read; all else goes through `World` and `Reducer`, which count."""
    above = [path for path in FILES if HEIGHT.get(part_of(path), 0) > HEIGHT["comm"]]
    uses = {str(path): raw_uses(path.read_text(encoding="utf-8")) for path in above}
    assert {path: raw for path, raw in uses.items() if raw} == {}


@pytest.mark.parametrize(
    "source",
    [
        "comm.bcast(1)",
        "world.comm.Allreduce(a, b)",
        "c = comm",
        "c = world._comm",
        "getattr(world, 'comm')",
        "getattr(comm, 'b' + 'cast')",
        "startup.start().Barrier()",
        "send = getattr(communicator, 'Isend')",
        "def f(c: Communicator): ...",
        "with comm as c: ...",
        "parts = [comm]",
    ],
)
def test_a_raw_communicator_is_seen_under_whatever_name(source: str) -> None:
    assert raw_uses(source)


@pytest.mark.parametrize(
    "source", ["World(comm, comm.size)", "comm = startup.start()", "def f(comm: Communicator): ..."]
)
def test_a_communicator_may_be_handed_on(source: str) -> None:
    assert raw_uses(source) == []


def test_no_file_is_too_long() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in [*FILES, *ROOT.glob("t*/**/*.py")]}
    assert {str(path): length for path, length in lengths.items() if length > LONGEST} == {}


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        str(path) for path in FILES if path.stat().st_size and ast.get_docstring(ast.parse(path.read_text())) is None
    ]
    assert silent == []


# One name for two classes that do one thing at two places: an optimiser as the direction of an agent's step, and as the
# server's step.
NAMESAKES = {"Adam", "SGD"}


def test_a_class_has_its_name_to_itself() -> None:
    places: dict[str, list[str]] = {}
    for path in FILES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(str(path.relative_to(PACKAGE)))
    assert {name: files for name, files in places.items() if len(files) > 1 and name not in NAMESAKES} == {}


def test_nothing_lies_at_the_top_that_does_not_belong_there() -> None:
    names = {path.name for path in ROOT.iterdir() if not path.name.startswith(".") and path.name != "__pycache__"}
    assert names <= TOP_LEVEL


def test_no_argument_is_checked_by_assert() -> None:
    asserting = [
        f"{path}:{node.lineno}"
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Assert)
    ]
    assert asserting == []


LOOK = """
import sys
{action}
print(*sorted(set(sys.modules) & {heavy!r}))
"""


@pytest.mark.parametrize(
    "action",
    [
        "import mpidl.cli.main",
        "from mpidl.launch import command, launcher, library, noise, process, surroundings",
        "from mpidl import experiment\nexperiment.Config.model_json_schema()",
        "from mpidl.cli.list import KINDS, registry_of\n"
        "for kind in KINDS:\n    [registry_of(kind).settings(name).model_json_schema() for name in registry_of(kind)]",
        f"from mpidl import experiment\nexperiment.load({str(ROOT / 'configs' / 'quickstart-dsgd.yaml')!r})",
    ],
    ids=["command line", "launcher", "schema", "every part", "a configuration"],
)
def test_nothing_heavy_is_imported_before_it_is_needed(action: str) -> None:
    program = LOOK.format(action=action, heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.stdout.strip(), done.stderr) == ("", "")


@pytest.mark.parametrize("module", ["experiment.rehearsal", "analysis.studies"])
def test_what_a_run_needs_and_what_its_models_tell_is_told_without_mpi(module: str) -> None:
    program = f"import sys, mpidl.{module}\nprint('mpi4py.MPI' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.stdout.strip(), done.stderr) == ("False", "")
