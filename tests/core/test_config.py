"""Every mistake in a configuration ends in one sentence; what is written is what is read."""

from __future__ import annotations

import pytest
from pydantic import Field

from mpidl import config as reading
from mpidl.config import Duration
from mpidl.errors import ConfigError
from mpidl.experiment import Config, check, load

GOOD = {
    "agents": 4,
    "model": "logistic",
    "data": {"name": "digits", "batch": 16},
    "algorithm": {"name": "dsgd", "lr": 0.1},
    "graph": "ring",
    "train": {"rounds": 10},
}


def write(tmp_path, text):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"algoritm": "dsgd"}, "algoritm: 'algoritm' is not known; did you mean 'algorithm'?"),
        ({"algorithm": {"name": "dsdg"}}, "algorithm.name: algorithm 'dsdg' is not known; did you mean 'dsgd'?"),
        ({"algorithm": {"name": "dsgd", "lrr": 1}}, "algorithm.lrr: 'lrr' is not known; did you mean 'lr'?"),
        ({"algorithm": {"name": "dsgd", "lr": -0.1}}, "algorithm.lr: -0.1 is not allowed: input should be greater"),
        ({"algorithm": {"name": "dsgd", "lr": "fast"}}, "algorithm.lr: 'fast' is not allowed"),
        ({"algorithm": {"lr": 0.1}}, "algorithm: 'name' is missing (csgd, d2"),
        ({"algorithm": {"name": "dsgd", "nesterov": True}}, "nesterov"),
        ({"train": {"rounds": 1, "epochs": 1}}, "train: give exactly one of 'rounds' and 'epochs'"),
        ({"train": {"rounds": 0}}, "train.rounds: 0 is not allowed"),
        ({"train": {"rounds": 1, "presicion": "float64"}}, "did you mean 'precision'?"),
        ({"graph": None}, "graph: is missing; dsgd needs one"),
        ({"algorithm": "csgd"}, "graph: csgd reduces over all agents and has no graph; remove it"),
        ({"evaluate": {"models": ["server"]}}, "evaluate.models: 'server' is not known"),
        ({"evaluate": {"every": "5 weeks"}}, "evaluate.every: '5 weeks' is not a duration"),
        ({"schedule": {"name": "step", "milestones": [0.7, 0.5]}}, "schedule.milestones: 0.5 does not come after 0.7"),
        ({"agents": 2.5}, "agents"),
        ({"seed": -1}, "seed: -1 is not allowed"),
        ({"model": {"name": "nowhere:net"}}, "model.name: model 'nowhere:net' could not be imported"),
        ({"name": "a/b"}, "name: 'a/b' is not allowed: a file is called after it"),
        ({"name": "a\nb"}, r"name: 'a\nb' is not allowed: a file is called after it"),
        ({"name": "a\0b"}, r"name: 'a\x00b' is not allowed: a file is called after it"),
        ({"evaluate": {"every": "9" * 400 + " epochs"}}, "is longer than any run"),
        ({"train": {"epochs": 1e308}}, "train.epochs: 1e+308 is not allowed: input should be less than or equal to"),
        ({"agents": 10**9}, "agents: 1000000000 is not allowed: input should be less than or equal to 100000"),
        ({"algorithm": "x" * 10**6}, "algorithm.name: algorithm 'xxx"),
        ({"evaluate": {"models": ["x" * 10**6]}}, "evaluate.models: 'xxx"),
        ({"model": {"name": "mlp", "hidden": ["x" * 10**6]}}, "model.hidden.0: 'xxx"),
        ({"x" * 10**6: 1}, "xxx"),
        ({"agents": "x"}, "agents: 'x' is not allowed: input should be a valid integer or 'auto'"),
        (
            {"data": {"name": "digits", "batch": "x"}},
            "data.batch: 'x' is not allowed: input should be a valid integer or",
        ),
        ({"data": {"name": "digits", "batch": 16.0}}, "data.batch: 16.0 is not allowed"),
        ({"train": {"rounds": 1, "threads": "all"}}, "train.threads: 'all' is not allowed: input should be"),
        (
            {"model": {"name": "mlp", "hidden": 64}},
            "model.hidden: 64 is not allowed: input should be a list, such as [64]",
        ),
        ({"model": {"name": "mlp", "hidden": [64, 0]}}, "model.hidden.1: 0 is not allowed"),
        ({"evaluate": {"models": "local"}}, "evaluate.models: 'local' is not allowed: input should be a list"),
        ({"evaluate": {"every": 0}}, "evaluate.every: 0 is no distance"),
        ({"algorithm": {"name": "dsgd", "lr": True}}, "algorithm.lr: True is not allowed"),
        ({"algorithm": {"name": "dsgd", "lr": "0.1"}}, "algorithm.lr: '0.1' is not allowed: input should be a valid"),
        ({"seed": True}, "seed: True is not allowed"),
        ({"agents": True}, "agents: True is not allowed"),
        ({"train": {"rounds": 1, "tf32": 1}}, "train.tf32: 1 is not allowed"),
        ({"algorithm": "csgd"}, "remove it, or set graph=null"),
        ({"lr": 0.1}, "lr: 'lr' is not known; did you mean 'algorithm.lr'? (agents,"),
        ({"learning_rate": 0.1}, "did you mean 'algorithm.lr'?"),
        ({"epoch": 3}, "did you mean 'train.epochs'?"),
        ({"batch_size": 3}, "did you mean 'data.batch'?"),
        ({"nodes": 3}, "nodes: 'nodes' is not known; did you mean 'agents'?"),
        (
            {"data": {"name": "digits", "seed": 3}},
            "data.seed: 'seed' is not known here; did you mean it outside of data?",
        ),
        ({"gossip": {"name": "exact"}}, "gossip.name: 'name' is not known (compressor, "),
        ({"data": {"name": "npz", "path": "x"}}, "data.path: 'path' is not known; did you mean 'data.file'?"),
        ({"data": {"name": "digits", "path": "x"}}, "did you mean 'data.root'?"),
        ({"algorithm": {"name": "dsgd", "epochs": 3}}, "algorithm.epochs: 'epochs' is not known; did you mean 'train."),
        ({"algorithm": {"name": "fedavg", "lr": 1}, "local_epochs": 3}, "did you mean 'algorithm.local_epochs'?"),
        ({"something": 3}, "something: 'something' is not known (agents,"),
        ({"train": {}}, "train: give exactly one of 'rounds' and 'epochs'"),
    ],
)
def test_a_mistake_is_one_sentence(change, sentence):
    with pytest.raises(ConfigError) as caught:
        reading.validate(Config, GOOD | change)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert caught.value.exit_code == 2


def test_exponents_without_a_point_are_numbers(tmp_path):
    text = "a: 1e-3\nb: 1E5\nc: -2e+2\nd: 12\ne: 1.5\nf: .5\ng: v1e3\nh: 1_000\n"
    values = reading.read(write(tmp_path, text))
    assert values == {"a": 1e-3, "b": 1e5, "c": -200.0, "d": 12, "e": 1.5, "f": 0.5, "g": "v1e3", "h": 1000}
    assert isinstance(values["d"], int)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: 1\nb: [1\n", "not valid YAML"),
        ("seed: 1\nseed: 2\n", "run.yaml, line 2: the key 'seed' is given twice, first on line 1"),
        ("data: {a: 1, a: 2}\n", "run.yaml, line 1: the key 'a' is given twice"),
        ("- 1\n- 2\n", "holds no 'key: value' lines"),
        ("", "holds no 'key: value' lines"),
        ("a: !!python/object/apply:os.system [ls]\n", "not valid YAML"),
    ],
)
def test_a_broken_file_is_one_sentence(tmp_path, text, sentence):
    with pytest.raises(ConfigError, match=sentence):
        reading.read(write(tmp_path, text))


def test_a_missing_file_and_a_binary_one_are_one_sentence(tmp_path):
    with pytest.raises(ConfigError, match="cannot read the configuration"):
        reading.read(tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(ConfigError, match="not a text file"):
        reading.read(tmp_path / "binary.yaml")


def test_overrides_reach_into_sections_and_replace_bare_names():
    base = {"graph": "ring", "algorithm": {"name": "dsgd", "lr": 0.1}}
    changed = reading.override(base, ["graph.weights=lazy", "algorithm.lr=1e-2", "train.rounds=3", "seed=4"])
    assert changed == {
        "graph": {"name": "ring", "weights": "lazy"},
        "algorithm": {"name": "dsgd", "lr": 0.01},
        "train": {"rounds": 3},
        "seed": 4,
    }
    assert base == {"graph": "ring", "algorithm": {"name": "dsgd", "lr": 0.1}}


@pytest.mark.parametrize(
    ("written", "overrides", "length"),
    [
        ("epochs: 5", ["train.rounds=10"], (10, None)),
        ("rounds: 5", ["train.epochs=1.5"], (None, 1.5)),
        ("rounds: 5", ["train.rounds=6"], (6, None)),
        ("rounds: 5", ["train.rounds=null", "train.epochs=2"], (None, 2)),
    ],
)
def test_a_length_on_the_command_line_replaces_that_of_the_file(tmp_path, written, overrides, length):
    text = f"model: logistic\ndata: digits\nalgorithm: {{name: csgd, lr: 1}}\ntrain: {{{written}}}\n"
    train = load(write(tmp_path, text), overrides).train
    assert (train.rounds, train.epochs) == length


@pytest.mark.parametrize("overrides", [["train.rounds=1", "train.epochs=1"], ["train.rounds=null"], ["train=5"]])
def test_two_lengths_or_none_are_refused_wherever_they_stand(tmp_path, overrides):
    text = "model: logistic\ndata: digits\nalgorithm: {name: csgd, lr: 1}\ntrain: {rounds: 5}\n"
    with pytest.raises(ConfigError, match="^train: "):
        load(write(tmp_path, text), overrides)


@pytest.mark.parametrize("assignment", ["algorithm.lr", "=3", "a..b=1", "algorithm.lr=[1"])
def test_a_malformed_override_is_one_sentence(assignment):
    with pytest.raises(ConfigError):
        reading.override(GOOD, [assignment])


@pytest.mark.parametrize(
    ("written", "rounds"),
    [(30, 30), ("5 epochs", 50), ("1 epoch", 10), ("7 rounds", 7), (0.5, 100), (1.0, 200), ("2.5 epochs", 25)],
)
def test_durations_are_rounds_epochs_or_fractions(written, rounds):
    class Holder(reading.BaseModel):
        value: reading.Rounds = Field()

    assert reading.validate(Holder, {"value": written}).value.rounds(10, 200) == rounds


def test_the_resolved_configuration_can_be_read_again():
    first = reading.validate(Config, GOOD | {"schedule": {"name": "step", "milestones": [0.5, "3 epochs", 90]}})
    again = reading.validate(Config, first.model_dump(mode="json"))
    assert again == first
    assert again.schedule.milestones[1] == Duration(amount=3, unit="epochs")


def test_more_ranks_than_agents_are_refused_before_mpi_starts(tmp_path):
    config = reading.validate(Config, GOOD)
    with pytest.raises(ConfigError, match="4 agents cannot fill 5 ranks"):
        check(config, 5, tmp_path / "out.h5")
    check(config, 4, tmp_path / "out.h5")


def test_environment_variables_stand_for_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("PLACE", "/somewhere")
    text = "model: logistic\ndata: {name: digits, root: $PLACE/data}\nalgorithm: csgd\ntrain: {epochs: 1}\n"
    config = load(write(tmp_path, text))
    assert config.data.root == "/somewhere/data"
    assert config.name == "run"


def test_a_whole_number_may_stand_where_any_number_may():
    assert reading.validate(Config, GOOD | {"algorithm": {"name": "dsgd", "lr": 1}}).algorithm.lr == 1.0


def test_a_merge_key_brings_what_is_not_given(tmp_path):
    text = "a: &base {x: 1, y: 2}\nb: {<<: *base, y: 3}\nc: {<<: [*base], z: 4}\n"
    values = reading.read(write(tmp_path, text))
    assert values == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}, "c": {"x": 1, "y": 2, "z": 4}}
