"""Runs that differ in nothing but the seed are one group, and a seed counts once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from mpidl import results
from mpidl.analysis.groups import alone, grouped
from mpidl.errors import ConfigError
from tests.analysis.runs import run


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[results.Run]:
    """Two learning rates by three seeds, as a sweep names them."""
    plain = run(tmp_path_factory.mktemp("plain"), "plain", records=1)
    found = []
    for lr in (0.1, 0.2):
        for seed in (1, 2, 3):
            config = plain.config | {"seed": seed, "algorithm": {"name": "dsgd", "lr": lr}}
            path = Path(f"sweep/lr={lr}_seed={seed}.h5")
            found.append(replace(plain, name="first", path=path, config_text=yaml.safe_dump(config)))
    return found


def test_runs_are_grouped_over_their_seeds(runs: list[results.Run]) -> None:
    groups = grouped(runs)
    assert [(group.label, group.name) for group in groups] == [
        ("lr 0.1", "lr=0.1_seed=*"),
        ("lr 0.2", "lr=0.2_seed=*"),
    ]
    assert groups[1].runs == tuple(runs[3:])


def test_housekeeping_does_not_part_a_group(runs: list[results.Run]) -> None:
    config = runs[1].config | {"checkpoint": {"every": "5 rounds"}, "name": "other"}
    assert len(grouped([runs[0], replace(runs[1], config_text=yaml.safe_dump(config))])) == 1


def test_a_run_done_twice_is_no_second_seed(runs: list[results.Run]) -> None:
    again = [replace(each, path=Path("again") / each.path.name) for each in runs[:3]]
    groups = grouped([*runs[:3], *again])
    assert [group.runs for group in groups] == [tuple(runs[:3]), tuple(again)]
    assert len({group.label for group in groups}) == 2


def test_runs_of_one_seed_are_told_with_it(runs: list[results.Run]) -> None:
    assert [group.label for group in grouped([runs[0], runs[4]])] == ["lr 0.1, seed 1", "lr 0.2, seed 2"]
    assert [group.label for group in alone(runs[:2])] == ["seed 1", "seed 2"]


@pytest.mark.parametrize(
    ("by", "sizes"), [("algorithm", [6]), ("algorithm.lr", [3, 3]), ("lr", [3, 3]), ("seed", [2] * 3)]
)
def test_groups_can_be_of_any_key(runs: list[results.Run], by: str, sizes: list[int]) -> None:
    assert [len(group.runs) for group in grouped(runs, [by])] == sizes


def test_groups_of_keys_are_told_by_them(runs: list[results.Run]) -> None:
    assert [group.label for group in grouped(runs, ["algorithm", "seed"])] == [
        f"dsgd, seed {seed}" for seed in (1, 2, 3)
    ]
    assert len({group.name for group in grouped(runs, ["seed"])}) == 3


def test_groups_of_keys_that_end_alike_are_told_apart(runs: list[results.Run]) -> None:
    def changed(**sections: object) -> results.Run:
        return replace(runs[0], config_text=yaml.safe_dump(runs[0].config | sections))

    rates = [
        changed(algorithm={"name": "fedopt", "lr": lr, "server": {"name": "adam", "lr": server}})
        for lr, server in ((0.1, 0.2), (0.2, 0.1))
    ]
    assert [group.label for group in grouped(rates, ["algorithm.lr", "algorithm.server.lr"])] == [
        "algorithm.lr 0.1, algorithm.server.lr 0.2",
        "algorithm.lr 0.2, algorithm.server.lr 0.1",
    ]
    parts = [
        changed(gossip={"compressor": {"name": "adam"}}),
        changed(algorithm={"name": "dsgd", "server": {"name": "adam"}}, gossip={"compressor": None}),
    ]
    found = grouped(parts, ["gossip.compressor", "algorithm.server"])
    assert len({group.label for group in found}) == 2, [group.label for group in found]
    assert [group.label for group in grouped(runs[:4], ["lr", "algorithm.lr"])] == ["lr 0.1", "lr 0.2"]


def test_a_key_that_no_run_has_is_answered_with_those_that_differ(runs: list[results.Run]) -> None:
    with pytest.raises(ConfigError, match=r"--by: 'learning_rat' is not known.*\(algorithm.lr, seed\)"):
        grouped(runs, ["learning_rat"])
    with pytest.raises(ConfigError, match="did you mean 'lr'"):
        grouped(runs, ["learning_rate"])
