"""A dry run refuses what the run would, in the same sentence, and tells what the run will need."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mpidl import accelerator, experiment, makers
from mpidl.cli.main import main
from mpidl.errors import ConfigError
from mpidl.experiment import trial
from mpidl.results.run_file import RunFile
from tests.cli.test_errors import mistake

PLUG_INS = """
from torch import nn


class Network(nn.Module):
    def __init__(self, width, wanted):
        super().__init__()
        self.first, self.second, self.norm = nn.Linear(64, width), nn.Linear(10, 10), nn.BatchNorm1d(10)
        self.wanted = wanted

    def forward(self, x):
        if self.wanted == "training" and not self.training:
            raise RuntimeError("no evaluation")
        x = self.second(self.first(x.flatten(1)))
        return self.norm(x) if self.wanted == "norm" else x


def unfit(example_shape, outputs):
    return Network(11, "")


def trains(example_shape, outputs):
    return Network(10, "training")


def normed(example_shape, outputs):
    return Network(10, "norm")


def loss(module, x, y):
    module(x)
    raise ValueError("no loss today")
"""


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["train.device=xpu"],
            "train.device: 'xpu' cannot be used here: torch was installed for the CPU alone; say auto",
        ),
        (["model.name=tried:unfit"], "model: 'tried:unfit' failed: RuntimeError: mat1 and mat2 shapes cannot be"),
        (["model.name=tried:trains"], "model: 'tried:trains' failed: RuntimeError: no evaluation"),
        (["model.name=tried:normed", "data.batch=359"], "data.batch: an agent's last batch holds a single example"),
        (["loss=tried:loss"], "loss: 'tried:loss' failed: ValueError: no loss today"),
        (["train.compile=true"], "train.compile: needs a C++ compiler, and there is no 'absent'; name another in CXX"),
    ],
    ids=lambda each: each[0] if isinstance(each, list) else "",
)
def test_what_ranks_refuse_before_they_train_a_dry_run_does(
    words: list[str], sentence: str, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "tried.py").write_text(PLUG_INS)
    monkeypatch.setenv("CXX", "absent")
    monkeypatch.setattr(makers, "torch_build", lambda: None)
    monkeypatch.setattr(accelerator, "kind", lambda: None)
    sets = [word for assignment in words for word in ("-s", assignment)]
    mode = torch.get_deterministic_debug_mode()
    assert mistake(capsys, folder, "run", "small.yaml", "-n", "2", *sets, "--dry-run").startswith(sentence)
    assert torch.get_deterministic_debug_mode() == mode


def test_a_gpu_that_is_not_here_is_for_the_scheduler_to_give(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accelerator, "count", lambda: 0)
    said = mistake(capsys, folder, "run", "small.yaml", "-n", "2", "-s", "train.device=cuda", "--dry-run")
    assert said.endswith("say auto or cpu, as in -s train.device=auto\n")
    swept = ("sweep", "small.yaml", "-n", "2", "-s", "train.device=cpu,cuda", "--dry-run")
    assert main(swept) == 2
    assert "train.device: 'cuda' cannot be used here" in capsys.readouterr().err
    job = ("--scheduler", "slurm", "--gpus-per-node", "2", "-s", "train.device=cuda", "--dry-run")
    assert main(("submit", "small.yaml", *job)) == 0
    assert "#SBATCH" in capsys.readouterr().out


@pytest.mark.parametrize("key", ["train.state_memory=1 MB", "gossip={transport: shared}"])
def test_what_is_for_main_memory_is_refused_where_there_is_a_gpu(
    key: str, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial.devices, "choose", lambda wanted, rank: torch.device("xpu", 0))
    words = ("-s", key, *(() if "gossip" in key else ("-s", "algorithm=fedavg", "-s", "graph=null")))
    said = mistake(capsys, folder, "run", "small.yaml", "-n", "2", *words, "--dry-run")
    assert "in main memory, not on xpu:0" in said


def test_of_hosts_that_are_named_this_one_does_not_say_what_gpus_they_have(folder: Path) -> None:
    loaded = experiment.load(folder / "small.yaml", ["train.device=cuda"])
    assert trial.device_of(loaded, elsewhere=True) == torch.device("cpu")
    with pytest.raises(ConfigError, match="'cuda' cannot be used here"):
        trial.device_of(loaded)


def test_a_policy_that_this_mpi_cannot_carry_out_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mpidl.launch import library

    parse = library.parse_library
    monkeypatch.setattr(library, "parse_library", lambda *given: parse(*given[:3]))
    said = mistake(capsys, folder, "run", "small.yaml", "-n", "2", "-s", "failures.policy=adopt", "--dry-run")
    assert said.startswith(
        "failures.policy: 'adopt' needs Open MPI 5 and mpirun --with-ft ulfm, but the ranks run with "
    )


def test_a_large_network_is_not_tried_and_a_file_in_the_way_is_told(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "LARGEST", 100)
    dry = ("run", "small.yaml", "-n", "2", "--dry-run", "-o", "out.h5")
    assert main(dry) == 0
    out, err = capsys.readouterr()
    assert out.endswith("not tried           the network, of more than 100 B; ranks will\n") and err == ""
    assert (
        "rounds              4\nsent in a round     20.8 kB by all" in out and "sent in the run     83.2 kB by" in out
    )
    RunFile.create(folder / "out.h5", {}, {}, None, 4).close()
    assert main(dry) == 0
    assert capsys.readouterr().err.startswith("the run would be refused: the output 'out.h5' exists; --resume to go on")
    assert main((*dry, "--overwrite")) == 0
    assert capsys.readouterr().err == ""
