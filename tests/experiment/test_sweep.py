"""What a sweep is made of: which runs there are, how they are called, and what is refused before any is started."""

from __future__ import annotations

import string
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import example, given
from hypothesis import strategies as st

from mpidl.cli.main import commands
from mpidl.errors import ConfigError
from mpidl.experiment.sweep import axes, members
from mpidl.experiment.sweep.handed import Handed, unclaim
from mpidl.experiment.sweep.member import Member, Standing
from mpidl.results import provenance
from mpidl.results.checkpoints.folder import CheckpointFolder
from mpidl.results.run_file import RunFile
from tests.cli.conftest import CONFIG

SMALL = Path("small.yaml")
OWN_LOSS = "the digest of sweeping_own:loss"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, holding `small.yaml`."""
    (tmp_path / SMALL).write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def found(*assignments: str, ranks: int = 2) -> list[Member]:
    return members.members(SMALL, axes.read(assignments), None, lambda config: ranks)


def refusal(*assignments: str) -> str:
    with pytest.raises(ConfigError) as caught:
        members.checked(found(*assignments))
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0.01,0.1", ["0.01", "0.1"]),
        ("1:3", ["1", "2", "3"]),
        ("-1:1,7", ["-1", "0", "1", "7"]),
        ("[64],[64, 64]", ["[64]", "[64, 64]"]),
        ("{name: a, b: [1, 2]},c", ["{name: a, b: [1, 2]}", "c"]),
        ('\'a,b\',"c\\",d"', ["'a,b'", '"c\\",d"']),
        ("it's,5 epochs", ["it's", "5 epochs"]),
        ("'it''s, so',x", ["'it''s, so'", "x"]),
        ("[1, 2", ["[1, 2"]),
        ("'1:3'", ["'1:3'"]),
        ("", [""]),
    ],
)
def test_values_stand_between_commas_that_are_in_no_quotes_and_no_brackets(text: str, values: list[str]) -> None:
    assert [value.strip() for value in axes.read([f"key={text}"])[0].values] == values


def test_the_last_key_changes_fastest_and_a_run_is_called_after_what_differs() -> None:
    read = axes.read(["algorithm.lr=0.10,1e-2", "train.rounds=5", "seed=1:2"])
    assert axes.names(read) == ["lr=0.1_seed=1", "lr=0.1_seed=2", "lr=0.01_seed=1", "lr=0.01_seed=2"]
    assert axes.described(read) == "2 values of algorithm.lr × 2 of seed"
    assert axes.names(axes.read(["a.name=x,y", "b.name=z,x"]))[1] == "a.name=x_b.name=x"
    assert axes.names(axes.read(["seed=1"])) == [""] and axes.names([]) == [""]


@given(st.lists(st.text(max_size=60), min_size=2, max_size=4, unique=True))
@example(["9223372036854775808", "y"])
def test_no_two_values_have_one_name_and_every_system_takes_it(texts: list[str]) -> None:
    words = [axes._word(text) for text in texts] + [axes._word(1), axes._word("1"), axes._word(True), axes._word(None)]
    assert len({word.casefold() for word in words}) == len({*texts, "1"}) + 3
    assert all(set(word) <= {*string.ascii_letters, *string.digits, *"+.-"} and len(word) < 60 for word in words)


def test_a_long_name_is_cut_and_stays_its_own() -> None:
    read = axes.read([f"key{n}={'x' * 30}{n},{'y' * 30}{n}" for n in range(8)])
    assert len({*axes.names(read)}) == 256 and max(map(len, axes.names(read))) < 200


@pytest.mark.parametrize(
    ("assignments", "sentence"),
    [
        (["algorithm.lr"], "-s wants key=value, or key=value,value,…, not 'algorithm.lr'"),
        (["seed=1,,2"], "seed: a value is missing beside a comma in '1,,2'"),
        (["seed=1,2", "seed=3"], "seed: is given twice; write all its values after one -s, as in seed=1,2,3"),
        (["seed=5:1"], "seed: 5:1 is empty; say 1:5, both included"),
        (["seed=1:"], "seed: '1:' is no range; say first:last, whole numbers, as in 1:5"),
        (["seed=1:2:5"], "seed: '1:2:5' is no range; say first:last"),
        (["algorithm.lr=0.1,1e-1"], "algorithm.lr: 1e-1 is given twice; each value is one run"),
        (["seed=1:99999999"], "seed: 1:99999999 is 99,999,999 values, and a sweep has at most 10,000 runs"),
        (
            ["seed=1:2000", "agents=1:2000"],
            "-s: 2,000 values of seed × 2,000 of agents are 4,000,000 runs, and a sweep has at most 10,000",
        ),
        (["algorithm.lr=[0.1,0.2"], "-s 'algorithm.lr=[0.1,0.2', line 1: not valid YAML: "),
        (["algorithm.lr=0.1,fast"], "algorithm.lr: 'fast' is not allowed: input should be a valid number"),
        (["algorithm.lrr=1,2"], "algorithm.lrr: 'lrr' is not known; did you mean 'lr'?"),
        (["seed=1,2", "agents=4,1"], "agents: 1 agent cannot fill 2 ranks, each of which runs at least one"),
        (["data.batch=16,100000"], "data.batch: 100,000 is more than the 360 examples that any agent has"),
        (["seed=1,2", "graph=ring,{name: ring}"], "-s: seed=1, graph=ring and seed=1, graph={name: ring} are one"),
    ],
)
def test_a_mistake_in_any_run_is_named_with_its_settings_before_there_is_one(
    folder: Path, assignments: list[str], sentence: str
) -> None:
    told = refusal(*assignments)
    assert told.startswith(sentence), told
    # What is wrong with the words themselves is wrong with no run.
    assert ("(with " in told) == any(words in told for words in ("is not allowed", "lrr", "cannot fill", "100,000"))
    assert list(folder.iterdir()) == [folder / SMALL]


def test_one_run_is_a_sweep_too_and_has_the_file_that_mpidl_run_would_give_it(folder: Path) -> None:
    (member,) = members.checked(found("algorithm.lr=0.2"))
    assert (member.output, member.standing) == (Path("runs/small/small-s3.h5"), Standing.WAITING)
    assert member.config.algorithm.lr == 0.2


def written(member: Member, rounds: int | None, status: str, **provenance: Any) -> None:
    """The file of a run that has come so far."""
    run = RunFile.create(member.output, member.config.model_dump(mode="json"), provenance, None, 4)
    if rounds is not None:
        run.append({"round": rounds, "seconds": 1.0, "test_accuracy_consensus": 0.5})
    run.flush()
    if status == "running":
        run.close()
    else:
        run.finish(status)


@contextmanager
def writing(member: Member) -> Iterator[None]:
    """A run that another process is at."""
    run = RunFile.create(member.output, member.config.model_dump(mode="json"), {}, None, 4)
    run.append({"round": 2, "seconds": 1.0})
    run.flush()
    try:
        yield
    finally:
        run.close()


def test_a_run_that_another_process_writes_is_refused(folder: Path) -> None:
    runs = found("seed=1:2")
    with writing(runs[0]):
        with pytest.raises(
            ConfigError, match=r"seed=1.h5' is being written by another process; wait .*\(with seed=1\)"
        ):
            members.checked(runs)
        standings = [member.standing for member in members.checked(runs, running=True)]
    assert standings == [Standing.RUNNING, Standing.WAITING]


def test_what_is_over_is_left_alone_what_is_half_done_goes_on_and_another_run_is_refused(folder: Path) -> None:
    runs = found("seed=1:5")
    for member, (rounds, status) in zip(
        runs, [(4, "finished"), (2, "diverged"), (2, "interrupted"), (None, "running")], strict=False
    ):
        written(member, rounds, status)
    expected = [Standing.FINISHED, Standing.DIVERGED, Standing.HALF, Standing.HALF, Standing.WAITING]
    assert [member.standing for member in members.checked(runs)] == expected
    assert [[m.number for m in series] for series in members.series(members.checked(runs))] == [[2, 3, 4]]
    told = refusal("seed=1:5", "algorithm.momentum=0.5")
    assert "algorithm.momentum was 0.0 and is 0.5; change it back, choose another folder with -o" in told
    longer = refusal("seed=1:5", "train.rounds=9")
    assert "has ended after round 4 of now 9 and left no checkpoint to go on from" in longer and "seed=1)" in longer
    assert "train.rounds was 4 and is 3" in refusal("seed=1:5", "train.rounds=3")
    Path(runs[4].output).write_text("mine")
    assert "is no such file of mpidl's" in refusal("seed=1:5")
    dry = CliRunner().invoke(commands, ["sweep", "small.yaml", "-s", "seed=1:4", "-n", "2", "--dry-run"])
    assert dry.exit_code == 0, dry.output
    states = ("finished", "diverged", "half done", "half done")
    listed = [f"{state:9}  runs/small/seed={seed}.h5" for seed, state in enumerate(states, start=1)]
    assert dry.stdout.splitlines() == listed


def test_other_data_are_refused_and_other_plug_ins_and_versions_told(folder: Path) -> None:
    plug_in = folder / "sweeping_own.py"
    plug_in.write_text("from torch.nn.functional import mse_loss as loss\n")
    words = ["seed=1:5", "loss=sweeping_own:loss"]
    runs = found(*words)
    (known,) = {provenance.plug_ins(run.config.model_dump(mode="json"))[OWN_LOSS] for run in runs}
    for run in runs[:4]:
        written(run, 4, "finished", versions={"torch": "1.0", OWN_LOSS: known if run.number else "0123"})
    changed = [{name: before for name, before, _ in run.changed} for run in members.checked(runs)]
    assert changed == [{"torch": "1.0", OWN_LOSS: "0123"}, *3 * [{"torch": "1.0"}], {}]
    said = CliRunner().invoke(commands, ["sweep", "small.yaml", "-n", "2", *_sets(words), "--dry-run"]).stderr
    assert "and was 1.0 for what is over: seed=1, seed=2, seed=3, and 1 more; that stays as it is, unless" in said
    assert f"{OWN_LOSS} is {known}, and was 0123 for what is over: seed=1; that" in said
    written(runs[4], 4, "diverged", data={"the digest of x": "0123"})
    told = refusal(*words)
    assert "'runs/small/seed=5.h5' was begun with other data: the digest of x was 0123 and is " in told
    assert "change it back, choose another folder with -o, or remove the file (with seed=5)" in told


def _sets(assignments: list[str]) -> list[str]:
    return [word for assignment in assignments for word in ("-s", assignment)]


def test_a_run_is_made_longer_only_where_its_learning_rates_stay(folder: Path) -> None:
    for schedule in ("constant", "cosine", "{name: step, milestones: [0.5]}", "{name: constant, warmup: 0.5}"):
        words = [f"schedule={schedule}", f"seed={len(schedule)}"]
        (run,) = found(*words)
        written(run, 4, "finished")
        CheckpointFolder(run.output).of_round(4).mkdir(parents=True)
        if schedule == "constant":
            assert members.checked(found(*words, "train.rounds=9"))[0].standing is Standing.HALF
        else:
            told = refusal(*words, "train.rounds=9")
            assert "on which its learning rates depend" in told and "train.rounds was 4 and is 9" in told


def test_runs_share_ranks_only_where_a_process_can_do_both(folder: Path) -> None:
    runs = found("train.threads=1,2", "train.deterministic=true,false", "seed=1:2")
    assert [[m.number for m in series] for series in members.series(runs)] == [[0, 1], [2, 3], [4, 5], [6, 7]]
    compiled = [replace(m, config=m.config.model_copy(update={"train": _compiled(m)})) for m in found("seed=1:3")]
    assert [len(series) for series in members.series(compiled)] == [1, 1, 1]


def _compiled(member: Member) -> Any:
    return member.config.train.model_copy(update={"compile": True})


def test_ranks_are_handed_what_was_read_and_launches_beside_each_other_take_each_run_once(folder: Path) -> None:
    runs = found("algorithm.lr=0.1,0.2", "graph=ring,{name: torus, rows: 2}", "seed=1:3")
    text = Handed.of(runs, claims=folder).packed()
    # One more run costs few bytes.
    assert len(text) < 3 * len(runs[0].config.model_dump_json()) + 300 * len(runs)
    one, other = Handed.unpacked(text), Handed.unpacked(text)
    assert [one.member(place) for place in range(len(runs))] == runs
    first, second = one.taken(), other.taken()
    taken = [next(first), next(second), next(second), next(first)]
    assert taken == [0, 1, 2, 3] and [*second] == [*range(4, 12)] and [*first] == []
    unclaim(folder, [5])
    assert [*Handed.unpacked(text).taken()] == [5]
