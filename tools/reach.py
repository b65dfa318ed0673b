"""Which tests reach which lines of mpidl, in the ranks and commands that they start too, and which to run for a bug."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from mutations import Mutation

ROOT = Path(__file__).resolve().parents[1]
# Once for what pytest and the ranks of a folder import.
LAUNCH_SECONDS = 8.0
# For tests of a folder of which no map tells.
FOLDER_SECONDS = 300.0
COVERAGE = """[run]
branch = false
parallel = true
sigterm = true
source = mpidl
dynamic_context = test_function
context = ${{PYTEST_CURRENT_TEST-}}
data_file = {folder}/coverage
"""


def copy_tree(tree: Path) -> None:
    """A fresh copy of what is committed, in which a test that hangs is given up sooner."""
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    archive = subprocess.run(["git", "-C", ROOT, "archive", "HEAD"], capture_output=True, check=True).stdout
    subprocess.run(["tar", "-x", "-C", tree], input=archive, check=True)
    for name, constant in (("ranks", "CASE_SECONDS = 30"), ("conftest", "LAUNCHES = 1")):
        path = tree / "tests" / f"{name}.py"
        path.write_text(re.sub(rf"^{constant.split()[0]} = \d+", constant, path.read_text(), flags=re.M))


def environment(tree: Path, *folders: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (*folders, tree))), "PYTHONDONTWRITEBYTECODE": "1"}


def make_map(work: Path, of: list[str]) -> None:
    """Runs these tests under coverage, and adds who reaches what, and how long it takes, to what is known."""
    tree, start, path = work / "tree", work / "start", work / "map.json"
    if not tree.exists():
        copy_tree(tree)
    start.mkdir(exist_ok=True)
    (start / "sitecustomize.py").write_text("import coverage\n\ncoverage.process_startup()\n")
    (work / "coveragerc").write_text(COVERAGE.format(folder=work))
    env = environment(tree, start) | {"COVERAGE_PROCESS_START": str(work / "coveragerc")}
    options = ["-q", "-p", "no:cacheprovider", f"--junitxml={work / 'times.xml'}"]
    subprocess.run([sys.executable, "-m", "pytest", *options, *of], cwd=tree, env=env, check=False)
    tests, broken = timed(work / "times.xml")
    lines = reached(work, set(tests))
    if path.exists():
        known = json.loads(path.read_text())
        tests, broken = known["tests"] | tests, (set(known["broken"]) - set(tests)) | broken
        for file, here in lines.items():
            for line, others in known["lines"].pop(file, {}).items():
                here[int(line)] = sorted({*here.get(int(line), []), *others})
        lines |= known["lines"]
    path.write_text(json.dumps({"tests": tests, "broken": sorted(broken), "lines": lines}))
    print(f"{len(tests)} test functions, {len(broken)} of them fail without any bug: {', '.join(sorted(broken))}")


def timed(path: Path) -> tuple[dict[str, float], set[str]]:
    """Seconds of each test function, all of its parameters together, and those that fail as it is."""
    seconds: dict[str, float] = defaultdict(float)
    broken = set()
    for case in ElementTree.parse(path).iter("testcase"):
        name = f"{case.get('classname')}.{case.get('name', '').partition('[')[0]}"
        seconds[name] += float(case.get("time", 0))
        if case.find("failure") is not None or case.find("error") is not None:
            broken.add(name)
    return dict(seconds), broken


def reached(work: Path, tests: set[str]) -> dict[str, dict[int, list[str]]]:
    """By file and line, the test functions that come there; none of them for what is executed at an import."""
    from coverage import Coverage

    coverage = Coverage(config_file=str(work / "coveragerc"))
    coverage.combine()
    coverage.save()
    data = coverage.get_data()
    found: dict[str, dict[int, list[str]]] = {}
    for file in map(Path, data.measured_files()):
        # Tests make packages of that name elsewhere, too.
        if not file.is_relative_to(work / "tree"):
            continue
        here = found[str(file.relative_to(work / "tree"))] = {}
        for line, contexts in data.contexts_by_lineno(str(file)).items():
            here[line] = sorted({test for test in map(test_of, contexts) if test in tests})
    return found


def test_of(context: str) -> str:
    """A context is `static|dynamic`: the test that started the process, and the one that runs in it, if one does."""
    dynamic = context.rpartition(" (call)|")[2] if " (call)|" in context else context
    if dynamic.startswith("tests."):
        return dynamic
    file, _, function = context.partition("::")
    return file.removesuffix(".py").replace("/", ".") + "." + re.split(r"[\[ ]", function)[0]


@cache
def on_ranks(tree: Path, module: str) -> frozenset[str]:
    """The tests of a module that run on ranks."""
    path = tree / Path(*module.split(".")).with_suffix(".py")
    return frozenset(
        node.name
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef)
        and "on_ranks" in ast.unparse(ast.Module([*map(ast.Expr, node.decorator_list)], []))
    )


def in_functions(source: bytes) -> set[int]:
    """The lines of all function bodies."""
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    return {line for node in functions for line in range(node.body[0].lineno, node.end_lineno + 1)}


class Plan:
    """Which tests are run for a bug, in calls of pytest one after the other.

    Where the map has no tests of a module's folder, they are chosen by name.
    """

    def __init__(self, work: Path, patience: float) -> None:
        kept = json.loads((work / "map.json").read_text())
        self.tree, self.patience = work / "tree", patience
        self.seconds = {name: value for name, value in kept["tests"].items() if name not in kept["broken"]}
        self.lines: dict[str, dict[str, list[str]]] = kept["lines"]
        self.folders = {name.split(".")[1] for name in self.seconds}
        self.breadth = Counter(test for file in self.lines.values() for tests in file.values() for test in tests)

    def limit(self, tests: list[str]) -> float:
        """Seconds after which these tests count as hanging: a launch may take long where others compute, too."""
        names = [test.replace("/", ".").replace(".py::", ".") for test in tests]
        if "-k" in tests:
            return FOLDER_SECONDS
        launched = any(name.rpartition(".")[2] in on_ranks(self.tree, name.rpartition(".")[0]) for name in names)
        return 25 + 10 * LAUNCH_SECONDS * launched + 4 * sum(self.seconds.get(name, LAUNCH_SECONDS) for name in names)

    def calls(self, file: str, mutation: Mutation) -> Iterator[list[str]]:
        stem, folder = Path(file).stem, Path(file).parts[1].removesuffix(".py")
        if folder not in self.folders:
            # Those that bear its name; of what all of them have in common, those that say what comes out.
            name = stem.replace("_", "-")
            named = any(f'"{name}"' in path.read_text() for path in (self.tree / "tests" / folder).glob("*.py"))
            yield [f"tests/{folder}", "-k", name if named else "recurrence or settings or mistake or goes_where"]
            return
        lines = self.lines.get(file, {})
        inside = in_functions((self.tree / file).read_bytes())
        where = {line for line in range(mutation.first, mutation.last + 1) if line in inside}
        # What is executed at an import concerns whoever comes to the module later.
        tests = {test for line in where or inside for test in lines.get(str(line), [])}
        plain: list[str] = []
        ranks: dict[str, list[str]] = defaultdict(list)
        slow: list[str] = []
        left = self.patience

        def order(test: str) -> tuple[bool, bool, int]:
            words = test.split(".")
            return not words[-2].endswith(stem), words[1] not in (folder, "core"), self.breadth[test]

        for test in sorted((test for test in tests if test in self.seconds), key=order):
            module, _, function = test.rpartition(".")
            if function in on_ranks(self.tree, module):
                place = module.split(".")[1]
                cost = 0.5 if ranks[place] else LAUNCH_SECONDS
                target = ranks[place]
            else:
                cost = self.seconds[test]
                target = slow if cost > LAUNCH_SECONDS / 2 else plain
            if cost <= left:
                left -= cost
                target.append(f"{module.replace('.', '/')}.py::{function}")
        yield from filter(None, [plain, *ranks.values(), *([test] for test in slow)])
