"""Models that a run file keeps are measured again, checked, taken out, and started from, by commands."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import h5py
import pytest
import torch

from mpidl import results
from mpidl.cli.main import main
from tests.cli.test_run import mpidl

WORDS = ["-n", "2", "-s", "checkpoint.best=test_loss_consensus", "-s", "checkpoint.every=2"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run file, and its checkpoints after rounds 2 and 4."""
    from tests.cli.conftest import CONFIG

    folder = tmp_path_factory.mktemp("trained")
    (folder / "small.yaml").write_text(CONFIG)
    done = mpidl("run", str(folder / "small.yaml"), *WORDS, "-o", str(folder / "run.h5"))
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def run(trained: Path, folder: Path) -> Path:
    """The run file in the current folder, beside `small.yaml` and the checkpoints."""
    shutil.copytree(trained, folder, dirs_exist_ok=True)
    return folder / "run.h5"


def answer(capfd: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    """What a command prints, on either stream."""
    found = main(words)
    out, err = capfd.readouterr()
    assert found == code, err
    return out + err


@pytest.mark.mpi
def test_models_are_measured_as_they_were_recorded(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["--round", "best"], ["--model", "2"]):
        lines = [json.loads(line) for line in answer(capfd, "evaluate", "run.h5", "--json", *words).splitlines()]
        assert [line["metric"].split("_")[1] for line in lines] == ["loss", "accuracy"]
        assert all(line["value"] == line["recorded"] is not None for line in lines)
    assert "differ" not in answer(capfd, "evaluate", "run.h5")
    other = answer(capfd, "evaluate", "run.h5", "--data", "{name: digits, crop: 1}", "--json")
    assert [json.loads(line)["recorded"] for line in other.splitlines()] == [None, None]
    for words, sentence in (
        (["--model", "consenus"], "did you mean 'consensus'?"),
        (["--model", "4"], "its agents are 0 to 3"),
        (["--round", "3"], "keeps no model of round 3 (4, best)"),
        (["--data", "digit"], "data.name: data 'digit' is not known; did you mean 'digits'?"),
        (["--data", "{name: blobs}"], "data: its examples have shape"),
        (["-s", "data.rot=x"], "data.rot: 'rot' is not known; did you mean 'root'?"),
    ):
        told = answer(capfd, "evaluate", "run.h5", *words, code=2)
        assert sentence in told and told.count("\n") == 1


@pytest.mark.mpi
def test_what_is_recorded_of_all_agents_where_one_is_asked_for_or_of_one_for_all_is_damage(
    run: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with h5py.File(run, "r+") as file:
        metrics = file["metrics"]
        for one, other in (("test_loss_consensus", "test_loss_local"), ("test_loss_local", "test_accuracy_consensus")):
            metrics.move(one, f"was_{one}")
            metrics[one] = metrics.get(f"was_{other}", metrics.get(other))[()]
    for words, whose in (([], "of the run"), (["--model", "2"], "of each agent")):
        assert f"has no value {whose}" in answer(capfd, "evaluate", "run.h5", *words, code=2)


@pytest.mark.mpi
def test_code_that_a_run_file_names_runs_only_where_a_person_says_so(
    run: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with h5py.File(run, "r+") as file:
        text = file["config"][()].decode().replace("name: logistic", 'name: "os:abort"')
        del file["config"]
        file["config"] = text
    told = answer(capfd, "evaluate", "run.h5", code=2)
    assert "'os:abort', code that does not come with mpidl" in told
    assert results.open(run).state_dict()


@pytest.mark.mpi
def test_a_configuration_of_another_network_is_refused_before_it_takes_memory(run: Path) -> None:
    with h5py.File(run, "r+") as file:
        text = file["config"][()].decode().replace("name: logistic", "name: mlp\n  hidden: [1000000000]")
        text = text.replace("  bias: true\n", "")
        del file["config"]
        file["config"] = text
    with pytest.raises(OSError, match="does not fit the network that its configuration describes"):
        results.open(run).build()


@pytest.mark.mpi
def test_models_are_listed_described_and_verified(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    listed = answer(capfd, "checkpoint", "list", "run.h5")
    assert "final" in listed and "best test_loss_consensus" in listed and "local (0 to 3)" in listed
    described = answer(capfd, "checkpoint", "describe", "run.h5", "--model", "1")
    assert "10×64" in described and "agent 1 after round 4: 650 trained numbers" in described
    assert "6 models, each as it was written" in answer(capfd, "checkpoint", "verify", "run.h5")
    with h5py.File(run, "r+") as file:
        file["snapshots/local"][0, 2, 5] += 1
    assert "its model of agent 2 of round 4 does not have" in answer(capfd, "checkpoint", "verify", "run.h5", code=2)
    assert "damaged" in answer(capfd, "checkpoint", "export", "run.h5", "--model", "2", "-o", "x.pt", code=2)
    assert not Path("x.pt").exists()
    assert "did you mean 'export'?" in answer(capfd, "checkpoint", "exprt", code=2)


@pytest.mark.mpi
@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_a_model_is_exported_and_another_run_starts_from_it(
    run: Path, suffix: str, capfd: pytest.CaptureFixture[str]
) -> None:
    if suffix == "safetensors":
        pytest.importorskip("safetensors")
    path = Path(f"x.{suffix}")
    assert "consensus of run.h5 after round 4" in answer(capfd, "checkpoint", "export", "run.h5", "-o", str(path))
    assert "exists" in answer(capfd, "checkpoint", "export", "run.h5", "-o", str(path), code=2)
    answer(capfd, "checkpoint", "export", "run.h5", "-o", str(path), "--overwrite")
    assert "model.init=start.pt" in answer(capfd, "checkpoint", "import", str(path), "small.yaml", "-o", "start.pt")
    wanted = results.open(run).state_dict("consensus")
    found = torch.load("start.pt", weights_only=True)
    assert found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in wanted)
    wrong = answer(capfd, "checkpoint", "import", str(path), "small.yaml", "-s", "model={name: mlp}", code=2)
    assert "model.init" in wrong and wrong.count("\n") == 1


@pytest.mark.mpi
def test_other_files_are_not_replaced_and_other_endings_not_guessed(
    run: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert "does not end in .pt" in answer(capfd, "checkpoint", "export", "run.h5", "-o", "x.bin", code=2)
    Path("notes.pt").write_text("mine")
    told = answer(capfd, "checkpoint", "export", "run.h5", "-o", "notes.pt", "--overwrite", code=2)
    assert "no other is replaced" in told and Path("notes.pt").read_text() == "mine"


@pytest.mark.mpi
def test_checkpoints_are_listed_described_and_verified_beside_the_models(
    run: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    newest, before = Path("run.ckpt/round-000000004"), Path("run.ckpt/round-000000002")
    for words in ("run.h5", "run.ckpt"):
        listed = answer(capfd, "checkpoint", "list", words)
        assert all(f"{place} " in listed for place in (newest, before)) and ("final" in listed) == (words == "run.h5")
        (best,) = (line for line in listed.splitlines() if "checkpoint" in line and "best test_loss_consensus" in line)
        assert str(newest) in best
        assert "run.ckpt/round-000000004: 2 files, each" in answer(capfd, "checkpoint", "verify", words)
    described = answer(capfd, "checkpoint", "describe", "run.ckpt", "--round", "2")
    assert "parameters" in described and "after round 2 of 4" in described and "4 agents on 2 ranks" in described
    assert "after round 4 of 4" in answer(capfd, "checkpoint", "describe", "run.ckpt", "--round", "last")
    assert "after round 4 of 4" in answer(capfd, "checkpoint", "describe", "run.ckpt", "--round", "best")
    assert "no checkpoint of round '3' (2, 4)" in answer(
        capfd, "checkpoint", "describe", "run.ckpt", "--round", "3", code=2
    )
    assert "there is no checkpoint" in answer(capfd, "checkpoint", "describe", ".", code=2)
    part = newest / "rank-00001.h5"
    content = bytearray(part.read_bytes())
    content[-20] ^= 1
    part.write_bytes(content)
    told = answer(capfd, "checkpoint", "verify", "run.h5", code=2)
    assert told.count("damaged") == 1 and "rank-00001.h5 does not have its checksum" in told
    assert "checksum" in answer(capfd, "checkpoint", "export", str(newest), "-o", "x.pt", code=2)
    (before / "index.sha256").write_text("none")
    assert "damaged" in answer(capfd, "checkpoint", "list", "run.ckpt")


@pytest.mark.mpi
def test_models_come_out_of_a_checkpoint_as_out_of_the_run_file(run: Path) -> None:
    for model in ("consensus", "3"):
        done = mpidl("checkpoint", "export", "run.ckpt", "--model", model, "-o", f"{model}.pt")
        assert done.returncode == 0, done.stderr
        found, wanted = torch.load(f"{model}.pt", weights_only=True), results.open(run).state_dict(model)
        assert found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in wanted)
    wrong = mpidl("checkpoint", "export", "run.ckpt", "--model", "serve", "-o", "x.pt")
    assert wrong.returncode == 2 and "'serve' is not known" in wrong.stderr and wrong.stderr.count("\n") == 1


@pytest.mark.mpi
def test_a_checkpoint_tells_one_process_what_the_run_file_tells_ranks(run: Path) -> None:
    words = ["alignment", "uncertainty", "--examples", "60", "--json"]
    ends = [mpidl("analyze", *path, *words) for path in (("run.h5", "-n", "2"), ("run.ckpt",))]
    assert [end.returncode for end in ends] == [0, 0], ends[1].stderr
    of_run, of_checkpoint = ([json.loads(line) for line in end.stdout.splitlines()] for end in ends)
    for one, other in zip(of_run, of_checkpoint, strict=True):
        assert {key: value for key, value in other.items() if key != "path"} == {
            key: value for key, value in one.items() if key != "path"
        }
    assert Path("run.round-000000004.analysis.h5").exists()
