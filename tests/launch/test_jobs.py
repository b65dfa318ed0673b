"""Job scripts: what they ask for, and how they are handed in; schedulers are stand-ins (test_slurm.py: a real one)."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from mpidl.cli.main import commands
from mpidl.errors import ConfigError, LaunchError
from mpidl.launch.jobs import script, settings
from mpidl.launch.jobs.schedulers import SCHEDULERS
from mpidl.launch.surroundings import job_cores, refuse_more_than_the_job_has, tasks
from tests.launch.test_scripts import bash, executable

ROOT = Path(__file__).resolve().parents[2]


def submitted(*words: str) -> str:
    """The script that `mpidl submit` prints."""
    result = CliRunner().invoke(commands, ["submit", "small.yaml", "--dry-run", *words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert bash("-n", "-c", result.output).stderr == ""
    return result.output


def refused(*words: str) -> str:
    """The sentence with which it refuses."""
    with pytest.raises((ConfigError, LaunchError)) as error:
        CliRunner().invoke(commands, ["submit", "small.yaml", *words], catch_exceptions=False)
    return str(error.value)


def directives(text: str, mark: str) -> list[str]:
    return [line.removeprefix(f"#{mark} ") for line in text.splitlines() if line.startswith(f"#{mark} ")]


def test_the_scripts_of_jobs_are_those_of_the_templates() -> None:
    written = {path.name: path.read_text() for path in ROOT.glob("jobs/*.sh")}
    assert written == dict(script.ready()), "write them anew: python tools/job_scripts.py"


ASKED = ["-n", "8", "--nodes", "2", "--gpus-per-node", "2", "-t", "1-02:00:00", "-A", "me", "-p", "gpu", "--notice"]


def test_slurm_is_asked_for_all_of_it(here: Path) -> None:
    text = submitted(*ASKED, "90 s", "--scheduler", "slurm", "--directive", "--qos=high", "-s", "train.threads=3")
    assert directives(text, "SBATCH") == [
        *("--job-name=small", "--nodes=2", "--ntasks=8", "--ntasks-per-node=4", "--cpus-per-task=3"),
        *("--gpus-per-node=2", "--time=26:00:00", "--account=me", "--partition=gpu", "--signal=B:USR2@90"),
        *("--requeue", "--output=runs/small-s0-%j.log", "--open-mode=append", "--qos=high"),
    ]


def test_pbs_is_asked_for_all_of_it_and_the_run_stops_by_itself(here: Path) -> None:
    text = submitted(*ASKED, "2 min", "--scheduler", "pbs", "-s", "train.walltime=30 h")
    assert directives(text, "PBS") == [
        *("-N small", "-l select=2:ncpus=4:mpiprocs=4:ngpus=2", "-l place=scatter", "-l walltime=26:00:00", "-A me"),
        *("-q gpu", "-r y", "-j oe", "-o runs/small-s0.log"),
    ]
    assert f"run+=(-s train.walltime={26 * 3600 - 120})" in text
    assert "run+=(-s train.walltime=60)" in submitted(*ASKED, "2 min", "--scheduler", "pbs", "-s", "train.walltime=60")


def test_lsf_is_asked_for_all_of_it(here: Path) -> None:
    text = submitted(*ASKED, "61 s", "--scheduler", "lsf")
    assert directives(text, "BSUB") == [
        *("-J small", "-n 8", '-R "span[ptile=4] affinity[core(1)]"', '-gpu "num=2"', "-W 26:00", "-wa USR2", "-wt 2"),
        *("-P me", "-q gpu", "-Q 75", "-r", "-o runs/small-s0.%J.log"),
    ]


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_mps_is_started_on_each_node_where_ranks_share_gpus_and_nowhere_else(scheduler: str, here: Path) -> None:
    sharing = submitted("-n", "4", "--gpus-per-node", "2", "--scheduler", scheduler)
    assert sharing.index("nvidia-cuda-mps-control -f") < sharing.index('"${run[@]}" &')
    for words in (["-n", "4", "--gpus-per-node", "4"], ["-n", "4"]):
        assert "mps" not in submitted(*words, "--scheduler", scheduler)


def test_words_reach_the_run_as_they_were_said(here: Path) -> None:
    value = "name=it's a $HOME run"
    lines = ["source 'my env'", "ulimit -s unlimited"]
    text = submitted(
        *("-n", "2", "--scheduler", "slurm", "-s", value, "-o", "my runs/100%.h5", "--module", "a/1"),
        *(word for line in lines for word in ("--prologue", line)),
    )
    assert directives(text, "SBATCH")[0] == "--job-name=it-s-a-HOME-run"
    assert "#SBATCH --output='my runs/100%%-%j.log'" in text
    run = shlex.split(re.search(r"^run=\((.*)\)$", text, re.MULTILINE)[1])
    assert run[:4] == [sys.executable, "-P", "-m", "mpidl"]
    assert run[4:] == ["run", "small.yaml", "-s", value, "-o", "my runs/100%.h5", "--resume", "-n", "2"]
    loaded = (
        "module load a/1 || {\n    echo .* a/1 >&2\n    exit 2\n}\nsource 'my env'\nulimit -s unlimited\n(.*\n)*run=\\("
    )
    assert re.search(loaded, text)


@pytest.mark.parametrize(
    ("program", "answer", "number"),
    [
        ("sbatch", "17;cluster", "17"),
        ("qsub", "17.head", "17.head"),
        ("bsub", "Job <17> is submitted to queue <q>.", "17"),
    ],
)
def test_the_scheduler_that_is_there_gets_the_script_and_its_number_is_told(
    program: str, answer: str, number: str, here: Path
) -> None:
    executable(here / "bin" / program, f"#!/bin/sh\n/bin/cat >script\necho '{answer}'\n")
    result = CliRunner().invoke(commands, ["submit", "small.yaml", "-n", "2", "-o", "out/a.h5"])
    assert (result.exit_code, result.stdout) == (0, f"{number}\n"), result.output
    assert "--resume -n 2" in (here / "script").read_text() and (here / "out").is_dir()


def test_a_refusal_is_told_in_the_schedulers_words_with_a_cure(here: Path) -> None:
    words = (
        "sbatch: error: invalid partition specified: gpuu\\nsbatch: error: Batch job submission failed: Invalid name"
    )
    executable(here / "bin" / "sbatch", f"#!/bin/sh\nprintf '{words}\\n' >&2\nexit 1\n")
    assert refused("-n", "2", "-p", "gpuu") == (
        "sbatch refuses the job: invalid partition specified: gpuu; Batch job submission failed: Invalid name; "
        "-p names another: `sinfo --summarize` lists them"
    )
    executable(here / "bin" / "sbatch", "#!/bin/sh\nexit 3\n")
    assert "exit code 3, without a word; --dry-run prints the script" in refused("-n", "2")


@pytest.mark.parametrize(
    ("words", "cure"),
    [
        ("Invalid account or account/partition combination specified", "-A names who pays, and -p where"),
        ("Invalid generic resource (gres) specification", "say another --gpus-per-node, or -p where there are GPUs"),
        ("Requested node configuration is not available", "ask for less, or -p another: `sinfo --summarize`"),
        ("Invalid directive found in batch script: qos=high", "leave out, or mend, what --directive adds"),
        ("Could not establish a configuration source", "Slurm does not answer here: run this where jobs"),
    ],
)
def test_what_a_scheduler_refuses_has_a_cure(words: str, cure: str, here: Path) -> None:
    executable(here / "bin" / "sbatch", f"#!/bin/sh\necho 'sbatch: error: {words}' >&2\nexit 1\n")
    assert refused("-n", "2").startswith(f"sbatch refuses the job: {words}; {cure}")


def test_a_job_that_could_not_start_is_submitted_and_said_to_wait(here: Path) -> None:
    # As Slurm 22.05 answers where a node is away, or a job asks for more than there is.
    words = "allocation failure: Requested node configuration is not available"
    executable(
        here / "bin" / "sbatch", f"#!/bin/sh\n[ $1 = --parsable ] && echo 17 && exit\necho '{words}' >&2; exit 1\n"
    )
    result = CliRunner().invoke(commands, ["submit", "small.yaml", "-n", "2"])
    assert (result.exit_code, result.stdout) == (0, "17\n")
    assert "as things stand, it cannot start: Requested node configuration is not available; ask for" in result.stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "--scheduler: is missing, since none of sbatch, qsub, bsub is on PATH"),
        (["--scheduler", "pbs", "-n", "2"], "there is no qsub on PATH"),
        (["--scheduler", "pbs"], "-n: is missing: how many ranks the job has; there are 8 agents"),
        (["--scheduler", "pbs", "-n", "9"], "9 ranks"),
        (
            ["--scheduler", "pbs", "-n", "3", "--nodes", "2"],
            "-n: 3 ranks cannot be shared out evenly over 2 nodes; say 2 or 4",
        ),
        (["--scheduler", "pbs", "-n", "2", "-t", "90"], "--time: '90' is no time; write 02:00:00"),
        (["--scheduler", "pbs", "-n", "2", "-t", "10:00"], "--time: '10:00' is no time"),
        (["--scheduler", "pbs", "-n", "2", "-t", "00:02:00"], "--time: 2 min 00 s are over before"),
        (["--scheduler", "pbs", "-n", "2", "-o", "small.yaml"], "the output 'small.yaml' is no such file of mpidl's"),
        (["--scheduler", "pbs", "-n", "2", "-o", "/proc/a/b.h5"], "the output '/proc/a/b.h5' cannot be written"),
        (
            ["--scheduler", "pbs", "-n", "2", "-s", "algorithm.lrr=1"],
            "algorithm.lrr: 'lrr' is not known; did you mean 'lr'?",
        ),
        (
            ["--scheduler", "pbs", "-n", "2", "-s", "train.device=xpu"],
            "train.device: is xpu, but the job asks for no GPU",
        ),
        (["--scheduler", "pbs", "-n", "2", "--prologue", "a\nb"], "--prologue: 'a\\nb' is not a line"),
        (["--scheduler", "pbs", "-n", "2", "-p", ""], "--partition: '' is not a line"),
        (
            ["--scheduler", "pbs", "-n", "2", "--launcher", "srun"],
            "--launcher: srun starts ranks in jobs of Slurm alone",
        ),
        (["--site", "hopper"], "there are no profiles in"),
    ],
)
def test_each_mistake_is_answered_in_a_sentence_with_its_cure(words: list[str], sentence: str, here: Path) -> None:
    assert sentence in refused(*words)


SITES = """
hopper: {scheduler: lsf, partition: gpu, gpus_per_node: 4, cores_per_node: 8, time: 12:00:00,
  modules: [a], prologue: [b]}
wrong: {partitions: gpu}
slow: {time: 30}
odd: 3
"""


def test_a_profile_holds_a_clusters_defaults_and_the_command_line_says_otherwise(here: Path) -> None:
    (here / "etc" / "mpidl").mkdir(parents=True)
    (here / "etc" / "mpidl" / "sites.yaml").write_text(SITES)
    text = submitted("--site", "hopper")
    told = directives(text, "BSUB")
    assert "-W 12:00" in told and "-q gpu" in told and "-n 4" in told and "module load a || {\n" in text
    text = submitted(
        "--site", "hopper", "-p", "long", "-t", "1 h", "--module", "c", "--gpus-per-node", "8", "--nodes", "1"
    )
    told = directives(text, "BSUB")
    assert (
        "-W 01:00" in told
        and "-q long" in told
        and "-n 8" in told
        and re.findall("^module load (.)", text, re.M) == ["a", "c"]
    )
    assert "-n: 8 ranks with 2 cores each are more than the 8 cores of a node; say -n 4 or fewer" in refused(
        "--site", "hopper", "-n", "8", "--cores-per-rank", "2"
    )
    assert refused("--site", "hoper").startswith("--site: 'hoper' is not known; did you mean 'hopper'? (hopper, odd, ")
    assert refused("--site", "wrong").startswith(
        "wrong.partitions: 'partitions' is not known; did you mean 'partition'?"
    )
    assert refused("--site", "slow").startswith("slow.time: 30 is no time; write ")
    assert refused("--site", "odd").startswith("odd: is no section of keys")


def test_profiles_stand_in_the_home_folder_unless_xdg_says_otherwise() -> None:
    assert settings.sites_file({"HOME": "/home/me"}) == Path("/home/me/.config/mpidl/sites.yaml")
    assert settings.sites_file({"HOME": "/home/me", "XDG_CONFIG_HOME": "/etc"}) == Path("/etc/mpidl/sites.yaml")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("02:00:00", 7200), ("1-00:00:30", 86430), ("90 min", 5400), ("1.5h", 5400), ("2 d", 172800), (43200, 43200)],
)
def test_a_time_is_read_as_it_is_written(text: str | int, seconds: int) -> None:
    assert settings.clock(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "0 s", "30", 30, True, "1:2:3", "00:00:00", "-1 h", "1e3 s", "9" * 9 + " d", "soon"]
)
def test_what_is_no_time_is_refused(text: str | int) -> None:
    with pytest.raises(ValueError, match="is no time"):
        settings.clock(text)


def test_a_job_says_for_how_many_ranks_it_is(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("a\na\nb\n")
    assert tasks({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4"}) == 4
    assert tasks({"PBS_JOBID": "7", "PBS_NODEFILE": str(tmp_path / "hosts")}) == 3
    assert tasks({"LSB_JOBID": "7", "LSB_DJOB_NUMPROC": "16"}) == 16
    for silent in ({"SLURM_NTASKS": "4"}, {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "1"}, {"PBS_JOBID": "7"}, {}):
        assert tasks(silent) is None


@pytest.mark.parametrize(
    ("job", "room"),
    [
        (
            {"SLURM_JOB_ID": "7", "SLURM_JOB_CPUS_PER_NODE": "2,1(x2)"},
            "4 cores of Slurm job 7; ask the scheduler for more (--ntasks), or",
        ),
        (
            {"PBS_JOBID": "7", "PBS_NODEFILE": "hosts"},
            "4 tasks of PBS job 7; ask the scheduler for more (mpiprocs of its chunks), or",
        ),
        ({"LSB_JOBID": "7", "LSB_DJOB_NUMPROC": "4"}, "4 slots of LSF job 7; ask the scheduler for more (bsub -n), or"),
    ],
    ids=["slurm", "pbs", "lsf"],
)
def test_a_run_has_no_more_ranks_than_its_job_has_room_for(
    job: dict[str, str], room: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "hosts").write_text("a\na\nb\nb\n")
    for name, value in job.items():
        monkeypatch.setenv(name, value)
    for words in (["run", "small.yaml", "--dry-run"], ["sweep", "small.yaml", "-s", "seed=1:2"]):
        with pytest.raises(ConfigError) as error:
            CliRunner().invoke(commands, [*words, "-n", "5"], catch_exceptions=False)
        assert str(error.value) == f"-n: 5 ranks are more than the {room} say 4 or fewer"


def test_a_job_of_one_task_may_be_for_several_ranks() -> None:
    assert job_cores({"SLURM_JOB_ID": "7", "SLURM_JOB_CPUS_PER_NODE": "8(x2),4"}) == 20
    assert job_cores({"SLURM_JOB_CPUS_PER_NODE": "8"}) is None and job_cores({"SLURM_JOB_ID": "7"}) is None
    for silent in ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "2"}, {"LSB_JOBID": "7", "LSB_DJOB_NUMPROC": "1"}, {}):
        refuse_more_than_the_job_has(5, silent)
