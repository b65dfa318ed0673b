#!/bin/bash
# A sweep: one job, in which each task trains the configuration with values of its own. From the folder where the
# configuration belongs, once the list of runs below is yours, which `mpidl sweep CONFIG -s … --submit` writes for you:
#
#     CONFIG=configs/quickstart-dsgd.yaml bsub < jobs/lsf-sweep.sh
#
# Options on bsub's command line replace those below: CONFIG=… bsub -W 02:00 -q gpu < jobs/…
# A task for each of the runs below; each is a job of the size that is told here.
#BSUB -J "mpidl[1-6]"
# A slot is a rank. An agent is not a rank: 16 agents run on 8 ranks as well, two on each, with the same numbers.
#BSUB -n 8
#BSUB -R "span[ptile=8] affinity[core(1)]"
# Hours and minutes.
#BSUB -W 00:30
# The signal comes so many minutes before.
#BSUB -wa USR2
#BSUB -wt 2
# Code 75 has it start again, under the same number; so has the death of a node.
#BSUB -Q 75
#BSUB -r
# Goes on with the same log. %J is the number, %I that of the task.
#BSUB -o mpidl.%J.%I.log

# LSF sends USR2 before the time is over.
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

config="${CONFIG:?usage: CONFIG=my.yaml bsub < jobs/lsf-….sh}"
# What each task trains, and the file that it writes. Submitted again, a run that is done stays as it is.
task="$LSB_JOBINDEX"
case "$task" in
1) own=(-s algorithm.lr=0.05 -s seed=1 -o runs/rates/lr=0.05_seed=1.h5) ;;
2) own=(-s algorithm.lr=0.05 -s seed=2 -o runs/rates/lr=0.05_seed=2.h5) ;;
3) own=(-s algorithm.lr=0.05 -s seed=3 -o runs/rates/lr=0.05_seed=3.h5) ;;
4) own=(-s algorithm.lr=0.1 -s seed=1 -o runs/rates/lr=0.1_seed=1.h5) ;;
5) own=(-s algorithm.lr=0.1 -s seed=2 -o runs/rates/lr=0.1_seed=2.h5) ;;
6) own=(-s algorithm.lr=0.1 -s seed=3 -o runs/rates/lr=0.1_seed=3.h5) ;;
*)
    echo "there is no run for task $task" >&2
    exit 2
    ;;
esac
# Begins the run, or goes on with it from its newest checkpoint: so the output is named by what is trained, and not by
# the job, which gets another number when you submit it again.
run=(mpidl run "$config" -n "$LSB_DJOB_NUMPROC" "${own[@]}" --resume "$@")

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
# LSF reads the code.
exit "$code"
