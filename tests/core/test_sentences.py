"""Whatever an error holds, it is told on one line that a terminal can show, with the place in a user's code."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import pytest

from mpidl.errors import ConfigError, DataError, DivergenceError, Interruption
from mpidl.sentences import LONGEST, PLUG_INS, describe, place, printable, told

HERE = Path(__file__).name


def raised(function, *arguments) -> BaseException:
    with pytest.raises(BaseException) as caught:
        function(*arguments)
    return caught.value


def test_errors_are_one_line_with_their_exit_code():
    assert describe(DataError("a\nb")) == ("a b", 2)
    assert describe(DivergenceError("x")) == ("x", 3)
    assert describe(KeyboardInterrupt()) == ("interrupted", 130)
    assert describe(Interruption()) == ("interrupted", 143)
    assert describe(MemoryError()) == ("internal error: MemoryError", 1)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("two\nlines\tand\x0bmore", "two lines and more"),
        ("\x1b[2J\x00\x7f", r"\x1b[2J\x00\x7f"),
        ("\udc80\u202ereversed", r"\udc80\u202ereversed"),
        ("Erdős–Rényi ≥ 1 😀", "Erdős–Rényi ≥ 1 😀"),
    ],
)
def test_what_moves_a_cursor_or_cannot_be_encoded_is_spelt_out(text: str, shown: str):
    assert printable(text) == shown
    assert shown.encode()


def test_a_long_text_keeps_both_ends():
    shown = printable("begin" + "\x1b" * 10_000_000 + "end")
    assert len(shown) == LONGEST and shown.startswith(r"begin\x1b") and shown.endswith(r"\x1bend")


def test_the_place_is_the_innermost_of_the_users_own_lines():
    def own():
        raise ConfigError("wrong")

    def outer():
        try:
            own()
        except ConfigError as error:
            raise DataError("because") from error

    line = own.__code__.co_firstlineno + 1
    sentence, code = describe(raised(outer))
    assert sentence.startswith("because (") and sentence.endswith(f"{HERE}, line {line})") and code == 2
    # What is handed to a library fails in there, but was wrong here.
    assert place(raised(lambda: Path(3))).endswith(f"{HERE}, line {sys._getframe().f_lineno}")


def test_mpidls_own_lines_and_a_librarys_are_no_ones_mistake():
    error = raised(lambda: printable(3))
    error.__traceback__ = error.__traceback__.tb_next.tb_next
    assert place(error) is None
    assert describe(error)[0].startswith("internal error: TypeError")


def test_what_a_compiled_library_meets_began_in_the_users_line(tmp_path: Path):
    import h5py

    def own():
        h5py.h5f.open(bytes(tmp_path / "none.h5"))

    assert place(raised(own)).endswith(f"{HERE}, line {own.__code__.co_firstlineno + 1}")


def test_an_installed_plug_in_is_named_too(monkeypatch: pytest.MonkeyPatch):
    code = compile("def fail():\n    raise KeyError('x')", "/lib/site-packages/theirs/part.py", "exec")
    names = {"__name__": "theirs.part"}
    exec(code, names)
    error = raised(names["fail"])
    error.__traceback__ = error.__traceback__.tb_next
    assert place(error) is None
    monkeypatch.setattr("mpidl.sentences.PLUG_INS", PLUG_INS | {"theirs"})
    assert describe(error) == ("KeyError: 'x' (/lib/site-packages/theirs/part.py, line 2)", 2)


def test_a_broken_file_is_named_with_its_line():
    error = raised(compile, "x = 1\ndef f(:", "own.py", "exec")
    assert place(error) == "own.py, line 2" and told(error) == "SyntaxError: invalid syntax"
    # One that a user's own code raises need not have a message.
    assert (told(SyntaxError()), told(SyntaxError(5))) == ("SyntaxError", "SyntaxError: 5")


def test_a_limit_of_the_process_is_named_as_the_cause(monkeypatch: pytest.MonkeyPatch):
    assert "ulimit" not in describe(MemoryError())[0]
    monkeypatch.setattr(resource, "getrlimit", lambda which: (1 << 31, 1 << 31))
    sentence, code = describe(ImportError("libx.so: failed to map segment from shared object"))
    assert sentence.startswith("memory ran out at the limit of 2,048 MiB for a process (ulimit -v)") and code == 2
    assert "(ulimit -n)" in describe(OSError(24, "Too many open files"))[0]
