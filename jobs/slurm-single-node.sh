#!/bin/bash
# One training on one node. From the folder where the configuration and its output belong:
#
#     sbatch jobs/slurm-single-node.sh configs/quickstart-dsgd.yaml -s algorithm.lr=0.05
#
# Options on sbatch's command line replace those below: sbatch --time=02:00:00 --partition=gpu jobs/…
#SBATCH --job-name=mpidl
#SBATCH --nodes=1
# A task is a rank. An agent is not a rank: 16 agents run on 8 ranks as well, two on each, with the same numbers.
#SBATCH --ntasks=8
#SBATCH --ntasks-per-node=8
#SBATCH --cpus-per-task=1
#SBATCH --time=00:30:00
# 120 s before the time is over, to this shell alone (B): ranks must hear it from mpidl run.
#SBATCH --signal=B:USR2@120
# It may start again, under the same number, and goes on with the same log. %j is the number.
#SBATCH --requeue
#SBATCH --output=mpidl-%j.log
#SBATCH --open-mode=append

# Slurm sends USR2 to this shell before the time is over.
# A shell hears a signal at once only while it waits for what runs in the background, and that wait ends with the
# signal: so it waits again, for a run that stops after a checkpoint and ends with code 75.
# TERM (INT in LSF) comes to a job that is cancelled, and perhaps to `mpidl run` itself, which then stops already. A
# second one would end it without a checkpoint, so it is passed on as USR2, a moment later; the job stays cancelled.
ranks="" signalled="" cancelled=""
stop() {
    signalled=yes
    [ -z "$ranks" ] || kill -s USR2 "$ranks" 2>/dev/null
}
trap stop USR2
trap 'cancelled=yes; sleep 1; stop' TERM INT

# What you load when you work by hand. With the cluster's MPI loaded, install mpidl without its extra `mpi`.
# module load python openmpi
# source ~/venvs/mpidl/bin/activate
# From here on: what others have written for your shell may use variables that are not set.
set -u

config="${1:?usage: sbatch jobs/slurm-….sh CONFIG [more words for mpidl run]}"
shift
# Begins the run, or goes on with it from its newest checkpoint: so the output is named by what is trained, and not by
# the job, which gets another number when you submit it again.
run=(mpidl run "$config" -n "$SLURM_NTASKS" -o "runs/$(basename "$config" .yaml).h5" --resume "$@")

# What a question to the cluster's support would need, at the top of the log.
mpidl env

if [ -n "$cancelled" ]; then
    exit 143
fi
"${run[@]}" &
ranks=$!
if [ -n "$signalled" ]; then
    # It came early: `mpidl run` listens after a moment.
    sleep 2
    stop
fi
wait "$ranks"
code=$?
while [ -n "$signalled" ]; do
    signalled=""
    wait "$ranks"
    code=$?
done

# 0 done; 2 the configuration is wrong; 3 diverged; 5 communication failed; 75 stopped after a checkpoint. A signal that
# comes before `mpidl run` can listen ends it, with 140: nothing is lost then.
if [ "$code" -eq 140 ]; then
    code=75
fi
if [ "$code" -eq 75 ] && [ -n "$cancelled" ]; then
    echo "stopped; submitted again, it goes on from its checkpoint"
    exit 143
fi
if [ "$code" -eq 75 ]; then
    # The number of one of an array's tasks stands for all of them.
    [ -z "${SLURM_ARRAY_JOB_ID:-}" ] || SLURM_JOB_ID="${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
    scontrol requeue "$SLURM_JOB_ID" || echo "not requeued; submitted again, it goes on from its checkpoint"
fi
exit "$code"
