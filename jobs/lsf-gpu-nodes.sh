#!/bin/bash
# One training on several nodes, with their GPUs. From the folder where the configuration and its output belong:
#
#     CONFIG=configs/quickstart-dsgd.yaml bsub < jobs/lsf-gpu-nodes.sh
#
# Options on bsub's command line replace those below: CONFIG=… bsub -W 02:00 -q gpu < jobs/…
#BSUB -J mpidl
# A slot is a rank. An agent is not a rank: 16 agents run on 8 ranks as well, two on each, with the same numbers.
#BSUB -n 8
#BSUB -R "span[ptile=4] affinity[core(8)]"
# On each node; ranks take them in turn.
#BSUB -gpu "num=4"
# Hours and minutes.
#BSUB -W 12:00
# The signal comes so many minutes before.
#BSUB -wa USR2
#BSUB -wt 2
# Code 75 has it start again, under the same number; so has the death of a node.
#BSUB -Q 75
#BSUB -r
# Goes on with the same log. %J is the number.
#BSUB -o mpidl.%J.log

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
# Begins the run, or goes on with it from its newest checkpoint: so the output is named by what is trained, and not by
# the job, which gets another number when you submit it again.
run=(mpidl run "$config" -n "$LSB_DJOB_NUMPROC" -o "runs/$(basename "$config" .yaml).h5" --resume "$@")

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
