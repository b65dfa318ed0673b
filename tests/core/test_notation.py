"""YAML that stands for more than it shows ends in one sentence, in little time and memory; other YAML comes back."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpidl import config as reading
from mpidl import notation
from mpidl.errors import ConfigError, choices_sentence, quoted


def _levels(first: str, each: str, count: int = 40) -> str:
    return first + "".join(each.format(here=level, below=level - 1) for level in range(1, count))


FORGED = {
    "aliases": (_levels("v0: &v0 [1]\n", "v{here}: &v{here} [*v{below}, *v{below}, *v{below}]\n"), "20,000 values"),
    "merges": (
        _levels("v0: &v0 {a: 1}\n", "v{here}: &v{here} {{<<: [*v{below}, *v{below}]}}\n"),
        "20,000 values",
    ),
    "nested aliases": (_levels("v0: &v0 [1]\n", "v{here}: &v{here} [[*v{below}]]\n"), "deeper than 32"),
    "a value in itself": ("a: &a [*a]", "refers to itself"),
    "a mapping in itself": ("a: &a {b: {c: *a}}", "refers to itself"),
    "brackets": ("a: " + "[" * 100_000, "deeper than 32"),
    "dashes": ("- " * 100_000, "deeper than 32"),
    "keys": ("{a: " * 50_000, "deeper than 32"),
    "many values": ("a: [" + "1," * 400_000 + "]", "20,000 values"),
    "long text": ("a: " + "x" * 2**20, "larger than any such file"),
    "digits": ("a: 99999999999999999999999999", "more digits than"),
    "many digits": ("a: 0x" + "f" * 1_000_000, "more digits than"),
    "base 8": ("a: 010", "line 1: 010 is 8 to some, 10 to others; leave the 0 out"),
    "base 60": ("a: 1" + ":1" * 500_000, "more digits than"),
    "base 60 with a point": ("a: 1" + ":1" * 500_000 + ".5", "more digits than"),
    "NUL": ('a: "x\\0y"', r"U\+0000 cannot stand here"),
    "an escape": ('a: "\\e[2J"', r"U\+001B cannot stand here"),
    "half a character": ('a: "\\ud800"', r"U\+D800 cannot stand here"),
    "an escape as it is": ("a: 1\nb: \x1b[2J", r"line 2: the character U\+001B cannot stand here"),
    "NUL in a key": ('"a\\0": 1', r"U\+0000 cannot stand here"),
    "a list for a key": ("? [a]\n: 1", "unhashable"),
    "bytes": ("a: !!binary aGk=", "not valid YAML"),
    "a set": ("a: !!set {b}", "not valid YAML"),
    "a day that is none": ("a: 2026-13-45", "not valid YAML"),
    "a number that is none": ("a: !!int x", "not valid YAML"),
    "a truth that is none": ("a: !!bool x", "not valid YAML"),
    "a time that is none": ("a: !!timestamp x", "not valid YAML"),
    "python": ("a: !!python/object/apply:os.system [ls]", "not valid YAML"),
}


@pytest.mark.parametrize("kind", FORGED)
def test_forged_yaml_is_one_sentence_in_little_time_and_memory(tmp_path: Path, kind: str) -> None:
    text, sentence = FORGED[kind]
    path = tmp_path / "run.yaml"
    path.write_text(text)
    before = resource.getrusage(resource.RUSAGE_SELF)
    with pytest.raises(ConfigError, match=sentence) as caught:
        reading.read(path)
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000
    # A second where it is honest; a bomb would never end.
    assert after.ru_utime - before.ru_utime < 10
    assert after.ru_maxrss - before.ru_maxrss < 2**20


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "too long", "not there", "NUL"])
def test_what_is_no_file_of_text_is_one_sentence(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "run.yaml"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path = Path("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    elif kind == "too long":
        path.write_bytes(b"#" * (notation.LARGEST + 1))
    elif kind == "NUL":
        path = tmp_path / "a\0b"
    with pytest.raises(ConfigError, match="cannot read the configuration") as caught:
        reading.read(path)
    assert "\n" not in str(caught.value) and "None" not in str(caught.value)


def test_an_override_is_read_within_the_same_limits() -> None:
    for assignment in ("a=" + "[" * 1000, "a." * 1000 + "b=1", "a=99999999999999999999999999", 'a="\\0"'):
        with pytest.raises(ConfigError) as caught:
            reading.override({}, [assignment])
        assert len(str(caught.value)) < 500


def test_as_much_as_the_limits_allow_is_read() -> None:
    nested: object = 1
    for _ in range(notation.DEEPEST - 2):
        nested = [nested]
    values = {"deep": nested, "many": list(range(15_000)), "number": 2**63 - 1, "least": -(2**63)}
    assert notation.load(notation.dump(values), "here") == values


def test_a_key_given_twice_among_many_is_found_at_once() -> None:
    lines = "".join(f"key{number}: 1\n" for number in range(8000))
    with pytest.raises(ConfigError, match="the key 'key77' is given twice, first on line"):
        notation.load(lines + "key77: 2\n", "here")


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=20)
    | st.sampled_from(["1e-3", "1e5", "12", "yes", "null", "~", "2026-01-01", "1:30", ".5", "0x10", "- a", "a: b"]),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text("abc1e", max_size=4), below, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text("abc1e-.", max_size=6), plain, max_size=4))
@settings(deadline=None, derandomize=True, max_examples=200)
def test_what_is_written_is_what_is_read(values: dict[str, object]) -> None:
    assert notation.load(notation.dump(values), "here") == values


def test_long_values_are_told_by_their_beginning() -> None:
    assert quoted("x" * 10**6) == "'" + "x" * 99 + "…"
    assert quoted("short") == "'short'"
    assert len(choices_sentence("metropolis" * 10**5, ["metropolis", "lazy"])) < 300


@pytest.mark.parametrize(
    "text",
    [
        "a: 1\nb: {c: [1, 2]}\nlist:\n- 1\n- x: 2\n",
        "a: >\n  folded\n\n  text\nb: |\n  kept: as it is\n",
        "a: 'b: 1'\nyes: no\n",
        "a: 1\n\n# nothing\nb: 2 # more\n",
    ],
)
def test_what_is_read_by_sections_is_what_is_read_at_once(text: str) -> None:
    assert notation.load_known(text) == notation.load(text, "it")


@pytest.mark.parametrize(
    "text",
    [
        *("", "1", "- a\n", "# a\nb: 1\n", "a: 1\n<<: {b: 1}\n", "a: 1\n? b\n: 2\n", "a: &x 1\nb: *x\n"),
        *("---\na: 1\n", "a: 1\n---\nb: 2\n", "a: 1\n...\nb: 2\n", "%YAML 1.1\n---\na: 1\n"),
        *("a: {x: 1,\nb: 2}\n", "a: 'x\nb: 2'\n", "a: 1\na: 2\n", "a: [1\nb: 2\n", "a: 1e9999x: \nb: \x01\n"),
    ],
)
def test_sections_that_depend_on_others_are_not_read_one_by_one(text: str) -> None:
    assert notation.load_known(text) is None


PIECES = [
    "a: 1\n",
    "b: ",
    "c: [",
    "]\n",
    "{",
    "}\n",
    "- x\n",
    "'",
    '"',
    "|\n",
    ">-\n",
    "  y\n",
    "---\n",
    "...\n",
    ", ",
    "#\n",
    "? ",
]


@given(st.lists(st.sampled_from(PIECES), max_size=8).map("".join))
@settings(deadline=None, derandomize=True, max_examples=200)
def test_no_text_is_read_otherwise_by_sections(text: str) -> None:
    known = notation.load_known(text)
    if known is not None:
        assert known == notation.load(text, "it")
