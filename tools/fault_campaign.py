"""Does at random moments to running launches what happens to them, and checks that each ends as it should.

    python tools/fault_campaign.py --faults 300 --table tools/results/fault_campaign.md

A fault is a signal to `mpidl run`, to its mpirun or to a rank; one of these stopped for a while; a disk that is full,
for a while or for good; an output folder that is gone; a reader that holds HDF5's lock. Of ten launches six train, half
of them with checkpoints on the way; the others are of ranks that only sum over all ranks and flush records.

Each launch runs with limits of time and memory, in folders of its own. After it: it has ended in time, with no
traceback and with an exit code that the README lists; every record that was seen before the fault is in the file, with
its values, and the file says how the run ended; every checkpoint has its checksums, and there is one where the run
says that it can go on; no process of it lives, and the temporary folder, shared memory and the output folder hold
nothing else. After a kill -9 of `mpidl run` itself the next launch has to clear up.

All is drawn from the seed and the fault's number, and every result is a line of `--state`, so that a campaign that was
broken off goes on where it was. Time is counted so that other work on the machine changes little: moments by the
processor time that a launch has used, as a fraction of what one without a fault takes; patience without the time in
which a launch waited for processors. Limits of the launch's own go by the clock, however, so that a launch that fails a
check, and has waited for processors longer than it had them, is tried again, up to --tries times; the last one counts.
Full disks need the right to mount. Exit code 1 if any check fails.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from dataclasses import asdict
from pathlib import Path

import numpy as np
from fault_checks import ROUNDS, Fault
from faults import SECONDS, SIGNALS, STOPPING, Outcome, ended, inflict, start
from patience import Patience

from mpidl.comm.start import presence
from mpidl.errors import MpidlError
from mpidl.sentences import describe

# Between a light rank's rounds, in seconds.
PAUSE = 0.005
# In rounds.
GROWS = 10
TARGETS = ("launcher", "mpirun", "a rank")
TRAINING = 0.6
# How often each kind of fault is drawn.
KINDS = {"signal": 0.66, "stopped": 0.1, "full disk": 0.08, "folder gone": 0.08, "locking reader": 0.08}


def rank(output: Path) -> None:
    """A rank of the launches that do not train."""
    from mpi4py import MPI

    from mpidl.comm.start.failures import guard
    from mpidl.results.run_file import RunFile

    with guard():
        MPI.Init_thread(MPI.THREAD_MULTIPLE)
        comm, run = MPI.COMM_WORLD, None
        presence.leave(comm.rank)
        if comm.rank == 0:
            run = RunFile.create(output, {"name": "fault"}, {"hosts": ["here"]}, None, comm.size)
        status = "failed"
        try:
            for number in range(ROUNDS):
                total = comm.allreduce(number)
                time.sleep(PAUSE)
                if run is not None:
                    # Now and then another metric, for which the file has to be made anew: it needs room then.
                    metric = f"sum{number // GROWS}"
                    run.append({"round": number, "seconds": number / 2, metric: total})
                    # As in training, what cannot be saved stops nothing and is tried again.
                    with contextlib.suppress(MpidlError):
                        run.flush()
            status = "finished"
        except KeyboardInterrupt:
            status = "interrupted"
            raise
        finally:
            if run is not None:
                run.finish(status)


def launch(program: list[str], output: Path) -> int:
    """What `mpidl run` does without a look at a configuration."""
    from mpidl.comm.start.sentinel import interruptible
    from mpidl.launch.process import Launch

    try:
        with interruptible():
            return Launch(2, program, output).run()
    except (MpidlError, KeyboardInterrupt) as error:
        sentence, code = describe(error)
        print(f"mpidl: {sentence}", file=sys.stderr)
        return code


def draw(number: int, seed: int) -> Fault:
    """The fault of this number."""
    rng = np.random.default_rng([seed, number])
    kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
    target, what = str(rng.choice(TARGETS)), ""
    moment, trains = float(rng.uniform(0, 1)), bool(rng.uniform() < TRAINING)
    keeps = trains and bool(rng.uniform() < 0.5)
    if kind == "signal":
        what = str(rng.choice((*SIGNALS, STOPPING) if trains else SIGNALS))
    elif kind == "full disk":
        target, what = "", str(rng.choice(["for a while", "for good"]))
    elif kind != "stopped":
        target = ""
    if kind == "full disk" or (trains and rng.uniform() < 0.5):
        # Rather while the file grows than before there is one.
        moment = 0.5 + moment / 2
    return Fault(number, kind, what, target, moment, trains, keeps)


def usual(trains: bool, folder: Path) -> float:
    """The processor time of a launch to which nothing is done."""
    (folder / "out").mkdir(parents=True)
    process, clock = start(Fault(0, "", "", "", 0, trains), folder, folder / "out" / "run.h5"), Patience(SECONDS)
    if not ended(process, clock) or process.returncode != 0:
        raise SystemExit(f"a launch without a fault ends with {process.returncode}: {(folder / 'stderr').read_text()}")
    return clock.ran


def one(fault: Fault, lengths: dict[bool, float], folder: Path) -> Outcome:
    """Launches anew until the launch is not over before the fault."""
    while True:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        outcome = inflict(fault, lengths[fault.trains], folder)
        if isinstance(outcome, Outcome):
            return outcome
        lengths[fault.trains] = 0.9 * outcome


def read(state: Path) -> list[Outcome]:
    """The results so far."""
    return [Outcome(**json.loads(line)) for line in state.read_text().splitlines()]


def table(outcomes: list[Outcome], seed: int) -> str:
    """The results by fault."""
    rows: dict[tuple[str, ...], list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        fault = outcome.what if outcome.kind == "signal" else f"{outcome.kind} {outcome.what}".strip()
        rows[fault, f"to {outcome.target}" if outcome.target else "–"].append(outcome)
    failed = [outcome for outcome in outcomes if outcome.trouble]
    trained = sum(outcome.trains for outcome in outcomes)
    starved = sum(outcome.tries for outcome in outcomes)
    lines = [
        f"{len(outcomes)} faults (seed {seed}), {trained} of them to training runs: {len(failed)} failed checks; "
        f"{sum(outcome.records for outcome in outcomes):,} records and "
        f"{sum(outcome.checkpoints for outcome in outcomes)} checkpoints found. {starved} launches that waited for "
        "processors longer than they had them failed a check, and were tried again.",
        "",
        "| fault | to | times | exit codes (how often) | failed |",
        "|---|---|---|---|---|",
    ]
    for (fault, target), found in sorted(rows.items()):
        codes = ", ".join(f"{code} ({times})" for code, times in sorted(Counter(each.code for each in found).items()))
        failures = sum(bool(each.trouble) for each in found)
        lines.append(f"| {fault} | {target.removeprefix('to ')} | {len(found)} | {codes} | {failures} |")
    lines += ["", *(f"- fault {each.number}: {each.trouble}" for each in failed)]
    return "\n".join(lines).rstrip() + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--share", default="0/1", help="do only each n-th fault from the i-th on, as in 1/2")
    parser.add_argument("--state", type=Path, default=Path(".fault_campaign.jsonl"), help="results, one a line")
    parser.add_argument("--tries", type=int, default=4, help="of a launch that waits for processors, and fails")
    parser.add_argument("--table", type=Path, help="where to write the table; default: standard output")
    parser.add_argument("--only", type=int, nargs="*", help="these faults alone, and keep their folders")
    parser.add_argument("--launch", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--rank", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rank:
        rank(options.rank)
        return 0
    if options.launch:
        return launch([sys.executable, __file__, "--rank", str(options.launch)], options.launch)
    outcomes = []
    if options.state.exists() and options.only is None:
        outcomes = read(options.state)
    # Also then, what was started and mounted goes.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    done = {outcome.number for outcome in outcomes}
    share, shares = map(int, options.share.split("/"))
    numbers = options.only or range(share, options.faults, shares)
    todo = [number for number in numbers if number not in done]
    base = Path(tempfile.mkdtemp(prefix="faults-"))
    try:
        lengths = {trains: usual(trains, base / f"usual-{trains}") for trains in (False, True)}
        for number in todo:
            fault, folder, tries = draw(number, options.seed), base / str(number), 0
            while (outcome := one(fault, lengths, folder)).trouble and outcome.starved and tries < options.tries:
                print(fault, "starved:", outcome.trouble, flush=True)
                tries += 1
            outcome.tries = tries
            outcomes.append(outcome)
            print(fault, outcome.code, outcome.status, outcome.trouble or "well", flush=True)
            if options.only is None:
                with options.state.open("a") as file:
                    file.write(json.dumps(asdict(outcome)) + "\n")
                shutil.rmtree(folder)
    finally:
        if options.only is None:
            shutil.rmtree(base, ignore_errors=True)
    if options.state.exists() and options.only is None:
        # Others may have done their share of them meanwhile.
        outcomes = read(options.state)
    text = table(sorted(outcomes, key=lambda outcome: outcome.number), options.seed)
    if options.table:
        options.table.parent.mkdir(parents=True, exist_ok=True)
        options.table.write_text(text)
    else:
        print(text)
    return int(any(outcome.trouble for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
