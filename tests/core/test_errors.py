"""Exit codes are told alike everywhere, and a misspelt name is answered with the nearest."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from click.testing import CliRunner

from mpidl import errors
from mpidl.cli.run import run
from mpidl.errors import EXIT_CODES, ExitCode, MpidlError

ROOT = Path(__file__).parents[2]


def _in_one_line(text: str) -> str:
    return " ".join(text.split())


def test_the_readme_and_the_help_tell_the_exit_codes_that_there_are():
    assert f"Exit codes: {EXIT_CODES}." in _in_one_line((ROOT / "README.md").read_text(encoding="utf-8"))
    assert f"Exit codes: {EXIT_CODES}." in _in_one_line(CliRunner().invoke(run, ["--help"]).output)


def test_a_run_ended_by_a_signal_returns_what_a_shell_would():
    assert (ExitCode.INTERRUPTED - 128, ExitCode.ENDED - 128) == (signal.SIGINT, signal.SIGTERM)


def test_every_error_can_be_caught_as_a_builtin_one_too():
    kinds = MpidlError.__subclasses__()
    assert {kind.__name__ for kind in kinds} >= {"ConfigError", "DataError", "DivergenceError", "SaveError"}
    for kind in kinds:
        assert kind.exit_code in set(ExitCode) - {ExitCode.DONE}
        assert any(base is not Exception and base.__module__ == "builtins" for base in kind.__bases__)


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("metropolise", "'metropolise' is not known; did you mean 'metropolis'? (lazy, metropolis)"),
        ("xyz", "'xyz' is not known (lazy, metropolis)"),
        (3, "3 is not known (lazy, metropolis)"),
    ],
)
def test_the_nearest_choice_is_named_where_there_is_one(word: object, sentence: str):
    assert errors.choices_sentence(word, ["metropolis", "lazy"]) == sentence


FEDERATED = ["dsgd", "fedavg", "gradient-tracking", "local-sgd", "mimelite", "noloco", "scaffold"]


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        *(("fed-avg", "fedavg"), ("FedAvg", "fedavg"), ("dpsgd", "dsgd"), ("gradtracking", "gradient-tracking")),
        *(("localsgd", "local-sgd"), ("mimelight", "mimelite"), ("scafold", "scaffold"), ("noloko", "noloco")),
        ("track", "gradient-tracking"),
        *(
            ("imagenet", None),
            ("client", None),
            ("resnet20", None),
            ("adam", None),
            ("cloud", None),
            ("metropolis", None),
        ),
    ],
)
def test_a_misspelt_word_is_understood_and_another_is_not_taken_for_one(word: str, meant: str | None) -> None:
    assert errors.nearest(word, FEDERATED) == meant
