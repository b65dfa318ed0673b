"""What a run tells while it goes: nothing that is not saved, no line that wraps, few of them, however long it is."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest

from mpidl.training.progress import LOG_WIDTH, ProgressLine, ProgressLines, Voice, summary


def record(done: float, seconds: float = 0.0, **others: float) -> dict[str, float]:
    return {"round": done, "epoch": done / 7, "seconds": seconds, **others}


WHOLE = {
    "test_loss_consensus": 0.0123456,
    "test_accuracy_consensus": 0.977777,
    "test_accuracy_local": 0.5,
    "consensus_distance": 1.23456e-7,
    "train_loss": 123.456,
}


@pytest.mark.parametrize("terminal", [False, True])
def test_only_what_is_in_the_run_file_is_told(terminal: bool, capsys: pytest.CaptureFixture[str]) -> None:
    progress = ProgressLine(Voice(80), 1.0) if terminal else ProgressLines(Voice())
    training = SimpleNamespace(done=0, rounds=9, seconds=0.0)
    # The first record is measured before anything has begun.
    progress.measuring(training)
    progress.start(training)
    for done in (0, 3):
        training.done = done
        progress.recorded(training, record(done))
    assert "epoch" not in capsys.readouterr().err
    progress.flushed(training)
    told = capsys.readouterr().err
    assert "round 3/9" in told and told.count("epoch") == 1
    progress.recorded(training, record(6))
    # Ranks have died, and what was measured last is measured again.
    progress.finish(training, "running")
    assert not capsys.readouterr().err
    progress.finish(training, "diverged")
    assert capsys.readouterr().err.count("round 6/9") == 1


@pytest.mark.parametrize("per_round", [1e-4, 0.02, 1.0, 60.0])
def test_a_long_run_leaves_few_lines_at_growing_distances(per_round: float, capsys: pytest.CaptureFixture[str]) -> None:
    progress, rounds = ProgressLines(Voice(), evaluation=30.0), 100_000
    training = SimpleNamespace(done=0, rounds=rounds, seconds=0.0)
    for done in range(0, rounds + 1, 10):
        training.done, training.seconds = done, done * per_round
        progress.measuring(training)
        progress.recorded(training, record(done, training.seconds, **WHOLE))
        progress.flushed(training)
    progress.finish(training, "finished")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) < 290 and max(map(len, lines)) <= LOG_WIDTH
    assert "round 0/100,000" in lines[1] and "round 100,000/100,000" in lines[-1]
    told = [int(line.split("/")[0].removeprefix("round ").replace(",", "")) for line in lines if "accuracy" in line]
    assert all(later > before for before, later in zip(told, told[1:], strict=False))


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_no_line_of_a_terminal_wraps_and_what_matters_most_stays(
    columns: int, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    voice = Voice(columns)
    progress = ProgressLine(voice, clock=lambda: now[0])
    training = SimpleNamespace(done=0, rounds=100_000, seconds=0.0)
    progress.start(training)
    for done in range(0, 100_001, 1000):
        now[0] += 1000.0
        training.done = done
        progress.after_round(training, done)
        progress.recorded(training, record(done, now[0], **WHOLE))
        progress.flushed(training)
    voice.say("a sentence that is longer than a terminal is wide " * 5)
    progress.finish(training, "finished")
    out = capsys.readouterr().err
    states = re.split(r"\r\x1b\[K|\n", out)
    assert max(map(len, states)) < columns
    assert out.count("\n") == len(states) - 1 - out.count("\r") and "left" in out
    last = states[-2]
    assert last.startswith("round 100,000/100,000") and ("accuracy 97.78 %" in last) == (columns > 40)
    assert ("distance" in last) == (columns > 100)


def test_accuracies_are_per_cent_and_agents_own_are_not_told() -> None:
    line = summary(SimpleNamespace(rounds=20), record(10, 12.34, **WHOLE), 200)
    assert line == (
        "round 10/20  epoch 1.429  train loss 123.5  test loss 0.01235  accuracy 97.78 %  distance 1.235e-07  12.3 s"
    )


def test_what_is_being_done_is_replaced_on_a_terminal_and_stays_in_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    for voice in (Voice(80), Voice()):
        voice.doing("loading digits")
        voice.say("done")
    assert capsys.readouterr().err == "loading digits…\r\x1b[Kdone\nloading digits…\ndone\n"
