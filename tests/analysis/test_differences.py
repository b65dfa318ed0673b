"""What sets runs apart is told whole; what does not is not in the way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from mpidl import results
from mpidl.analysis.differences import differences, labels, names
from mpidl.analysis.settings import settings
from tests.analysis.runs import run


def algorithm(name: str, lr: float, momentum: float = 0.0, **keys: Any) -> dict[str, Any]:
    return {"name": name, "lr": lr, "momentum": momentum, **keys}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> results.Run:
    return run(tmp_path_factory.mktemp("plain"), "plain", records=1)


def variant(plain: results.Run, name: str = "plain", **sections: Any) -> results.Run:
    """The same run with other sections of its configuration."""
    config = {key: value for key, value in (plain.config | sections).items() if value is not None}
    return replace(plain, name=name, path=plain.path.with_name(f"{name}.h5"), config_text=yaml.safe_dump(config))


def test_learning_rates_and_momentum_are_told_also_where_algorithms_differ(plain: results.Run) -> None:
    runs = [
        variant(plain, algorithm=algorithm("dsgd", 0.05, 0.9)),
        variant(plain, algorithm=algorithm("dsgd", 0.2, 0.9)),
        variant(plain, algorithm=algorithm("csgd", 0.4), graph=None),
    ]
    assert labels(runs) == ["dsgd lr 0.05 momentum 0.9", "dsgd lr 0.2 momentum 0.9", "csgd lr 0.4"]
    (column,) = differences(runs).columns
    assert (column.key, column.title, column.cells) == ("algorithm", "algorithm", tuple(labels(runs)))


def test_a_setting_of_a_part_that_is_the_same_is_a_column_of_its_own(plain: results.Run) -> None:
    runs = [variant(plain, algorithm=algorithm("dsgd", lr), seed=seed) for seed, lr in ((1, 0.1), (2, 1.0))]
    assert [(column.title, column.cells) for column in differences(runs).columns] == [
        ("lr", ("0.1", "1")),
        ("seed", ("1", "2")),
    ]
    assert labels(runs) == ["lr 0.1, seed 1", "lr 1, seed 2"]
    assert [column.title for column in differences(runs, without=["seed"]).columns] == ["lr"]


def test_what_only_one_algorithm_has_is_told_unless_it_is_the_default(plain: results.Run) -> None:
    server = {"name": "adam", "lr": 0.1}
    runs = [
        variant(plain, algorithm=algorithm("csgd", 0.4), graph=None),
        variant(plain, algorithm=algorithm("feddyn", 0.4, alpha=0.3, server=server), graph=None),
        variant(plain, algorithm=algorithm("feddyn", 0.4, participation=1.0, alpha=0.01), graph=None),
    ]
    assert labels(runs) == [
        "csgd",
        "feddyn server adam server.lr 0.1 alpha 0.3",
        "feddyn server sgd server.lr 1 alpha 0.01",
    ]


def test_a_graph_is_compared_among_the_runs_that_have_one(plain: results.Run) -> None:
    central = variant(plain, algorithm=algorithm("csgd", 0.1), graph=None)
    chain = variant(plain, graph={"name": "chain"})
    assert labels([central, plain]) == ["csgd", "dsgd"]
    assert labels([central, plain, chain]) == ["csgd", "dsgd, ring", "dsgd, chain"]


def test_compressed_gossip_is_apart_from_none(plain: results.Run) -> None:
    packed = variant(plain, gossip={"scheme": {"name": "choco", "gamma": 0.5}, "compressor": {"name": "sign"}})
    assert labels([plain, packed, variant(plain, gossip={"wire": "bfloat16"})]) == [
        "exact, wire null",
        "choco gamma 0.5, wire null, sign",
        "exact, wire bfloat16",
    ]


def test_a_setting_that_is_null_in_one_run_is_told_as_null(plain: results.Run) -> None:
    runs = [variant(plain, algorithm=algorithm("dsgd", 0.1, clip_norm=clip)) for clip in (None, 1.0)]
    assert labels(runs) == ["clip_norm null", "clip_norm 1"]


def test_a_key_that_an_older_mpidl_did_not_write_has_its_default(plain: results.Run) -> None:
    old = variant(plain, algorithm={"name": "dsgd", "lr": 0.1}, train={"rounds": 9})
    train = {"rounds": 9, "threads": 1, "log": []}
    new = variant(plain, algorithm=algorithm("dsgd", 0.1, rho=0.0), checkpoint={"keep": 2}, train=train)
    assert differences([old, new]).columns == ()


def test_housekeeping_is_told_and_is_in_no_label(plain: results.Run) -> None:
    runs = [variant(plain, name, checkpoint={"every": every}) for name, every in (("a", "3 rounds"), ("b", None))]
    (column,) = differences(runs).columns
    assert (column.title, column.cells, column.matters) == ("checkpoint.every", ("3 rounds", "null"), False)
    assert labels(runs) == ["a", "b"]


def test_what_is_constant_stands_by_section_without_defaults(plain: results.Run) -> None:
    data = {"name": "digits", "batch": 16, "split": {"name": "dirichlet-class", "alpha": 0.1}}
    runs = [variant(plain, algorithm=algorithm(name, 0.1, 0.9, nesterov=False), data=data) for name in ("dsgd", "qgm")]
    constant = differences(runs).constant
    assert constant["data"] == "digits, batch 16, split dirichlet-class, split.alpha 0.1"
    assert constant["algorithm"] == "momentum 0.9, lr 0.1"
    assert constant["graph"] == "ring" and constant["agents"] == "3"


def test_a_part_of_ones_own_is_told_whole_and_not_imported(plain: results.Run) -> None:
    own = variant(plain, algorithm=algorithm("nowhere:Mine", 0.1, beta=[1, 2.5]))
    assert labels([plain, own])[1] == "nowhere:Mine beta [1, 2.5]"


def test_runs_are_called_as_their_files_where_names_repeat(tmp_path: Path, plain: results.Run) -> None:
    a, b = (replace(plain, name="same", path=tmp_path / f"{stem}.h5") for stem in ("lr=1", "lr=2"))
    c, d = (replace(plain, name="same", path=tmp_path / folder / "lr=3.h5") for folder in ("old", "new"))
    assert names([plain, a, b]) == ["plain", "lr=1", "lr=2"]
    assert names([plain, a, c, d]) == ["plain", f"{tmp_path.name}/lr=1", "old/lr=3", "new/lr=3"]
    assert names([replace(plain, name="", path=tmp_path / "x.h5")]) == ["x"]
    assert labels([a, b, plain]) == ["lr=1", "lr=2", "plain"]


KEYS = {
    "seed": st.sampled_from([1, 2]),
    "algorithm": st.fixed_dictionaries(
        {"name": st.sampled_from(["dsgd", "qgm", "own:One"]), "lr": st.sampled_from([0.1, 0.1000001, 1])},
        optional={"momentum": st.sampled_from([0.0, 0.9]), "rho": st.sampled_from([0.0, 0.1])},
    ),
    "graph": st.sampled_from(["ring", "chain", {"name": "ring", "weights": "lazy"}]),
    "gossip": st.sampled_from(
        [None, {"overlap": True}, {"scheme": "choco", "compressor": {"name": "qsgd", "bits": 4}}]
    ),
    "data": st.sampled_from([{"name": "digits"}, {"name": "digits", "split": {"name": "shards"}}]),
}


@effort(max_examples=25)
@given(st.lists(st.fixed_dictionaries(KEYS), min_size=2, max_size=5))
def test_no_difference_is_hidden(plain: results.Run, configurations: list[dict[str, Any]]) -> None:
    runs = [variant(plain, str(number), **config) for number, config in enumerate(configurations)]
    apart = differences(runs)
    texts = [apart.label(number) for number in range(len(runs))]
    known = [{key: each.text for key, each in settings(one).items() if key != "name"} for one in runs]
    for first in range(len(runs)):
        for second in range(first):
            assert (texts[first] == texts[second]) == (known[first] == known[second]), (texts, configurations)
    assert len(set(labels(runs))) == len(runs)
