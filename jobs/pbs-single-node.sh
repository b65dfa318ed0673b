#!/bin/bash
# One training on one node. From the folder where the configuration and its output belong:
#
#     qsub -v CONFIG=configs/quickstart-dsgd.yaml jobs/pbs-single-node.sh
#
# Options on qsub's command line replace those below: qsub -l walltime=02:00:00 -q gpu -v CONFIG=… jobs/…
#PBS -N mpidl
# A chunk is a node, and mpiprocs its ranks. An agent is not a rank: 16 agents run on 8 ranks as well, two on each.
#PBS -l select=1:ncpus=8:mpiprocs=8
#PBS -l place=scatter
#PBS -l walltime=00:30:00
# It may start again, under the same number.
#PBS -r y
# Output and errors in one file.
#PBS -j oe
#PBS -o mpidl.log

# PBS begins in the home folder.
cd "$PBS_O_WORKDIR" || exit 2

# `qsig -s USR2 JOB` has the run stop and start again.
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

config="${CONFIG:?usage: qsub -v CONFIG=my.yaml jobs/pbs-….sh}"
# Begins the run, or goes on with it from its newest checkpoint: so the output is named by what is trained, and not by
# the job, which gets another number when you submit it again.
run=(mpidl run "$config" -n "$(wc -l <"$PBS_NODEFILE")" -o "runs/$(basename "$config" .yaml).h5" --resume "$@")
# PBS sends nothing before the time is over: the run itself stops after a checkpoint, 120 s before.
run+=(-s train.walltime=1680)

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
    # Many sites leave this to their operators.
    qrerun "$PBS_JOBID" || echo "not requeued; submitted again, it goes on from its checkpoint"
fi
exit "$code"
