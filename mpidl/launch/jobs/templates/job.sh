#!/bin/bash
{# A scheduler's own template sets how directives begin, what its commands are called, and fills the blocks. #}
{% if job.run is none %}
{% if job.tasks %}
# A sweep: one job, in which each task trains the configuration with values of its own. From the folder where the
# configuration belongs, once the list of runs below is yours, which `mpidl sweep CONFIG -s … --submit` writes for you:
{% else %}
# One training on {{ "one node" if asks.nodes == 1 else "several nodes, with their GPUs" }}. From the folder where the configuration and its output belong:
{% endif %}
#
#     {{ submitting }}
#
# Options on {{ program }}'s command line replace those below: {{ replacing }}
{% endif %}
{% block size %}{% endblock %}
{% if asks.account is not none %}
{{ mark }} {{ account }}{{ asks.account | quoted }}
{% endif %}
{% if asks.partition is not none %}
{{ mark }} {{ partition }}{{ asks.partition | quoted }}
{% endif %}
{% block again %}{% endblock %}
{% for line in asks.directives %}
{{ mark }} {{ line }}
{% endfor %}

{% block folder %}{% endblock %}

{% block why_signal %}{% endblock %}
# A shell hears a signal at once only while it waits for what runs in the background, and that wait ends with the
# signal: so it waits again, for a run that stops after a checkpoint and ends with code 75.
# TERM (INT in LSF) comes to a job that is cancelled, and perhaps to `mpidl run` itself, which then stops already. A
# second one would end it without a checkpoint, so it is passed on as {{ job.signal }}, a moment later; the job stays cancelled.
ranks="" signalled="" cancelled=""
stop() {
    signalled=yes
    [ -z "$ranks" ] || kill -s {{ job.signal }} "$ranks" 2>/dev/null
}
trap stop {{ job.signal }}
trap 'cancelled=yes; sleep 1; stop' TERM INT

# What you load when you work by hand. With the cluster's MPI loaded, install mpidl without its extra `mpi`.
{% for name in asks.modules %}
module load {{ name | quoted }} || {
    echo "mpidl: a module cannot be loaded here, and \`module avail\` lists those that can:" {{ name | quoted }} >&2
    exit 2
}
{% endfor %}
{% for line in asks.prologue %}
{{ line }}
{% endfor %}
{% for name, value in job.exports %}
export {{ name }}={{ value | quoted }}
{% endfor %}
# From here on: what others have written for your shell may use variables that are not set.
set -u

{% if job.run is none %}
{% block configuration %}{% endblock %}
{% endif %}
{% if job.tasks %}
# What each task trains, and the file that it writes. Submitted again, a run that is done stays as it is.
task={{ task }}
case "$task" in
{% for words in job.tasks %}
{{ loop.index }}) own=({{ words | words }}) ;;
{% endfor %}
*)
    echo "there is no run for task $task" >&2
    exit 2
    ;;
esac
{% endif %}
{% if job.run is none %}
# Begins the run, or goes on with it from its newest checkpoint: so the output is named by what is trained, and not by
# the job, which gets another number when you submit it again.
{% set own = '"${own[@]}"' if job.tasks else '-o "runs/$(basename "$config" .yaml).h5"' %}
run=(mpidl run "$config" -n {{ ranks }} {{ own }} --resume "$@")
{% else %}
# Begins the run, or goes on with it from its newest checkpoint.
run=({{ job.run | words }}{{ ' "${own[@]}"' if job.tasks }})
{% endif %}
{% block walltime %}{% endblock %}

# What a question to the cluster's support would need, at the top of the log.
{{ job.report | words }}

{% if job.shares_gpus %}
# Ranks share GPUs: with NVIDIA's MPS their kernels run beside each other and not in turns. One daemon per node, of this
# user and this job alone; ranks find it by the variable, and it ends with the job. What an earlier one has left there,
# when the job was started before, would be in its way. GPUs of AMD and Intel need none, and nodes that have them no such
# program.
{% block on_each_node %}{% endblock %}
if command -v nvidia-cuda-mps-control >/dev/null; then
    CUDA_MPS_PIPE_DIRECTORY="/tmp/mps-$(id -u)-{{ number }}"
    export CUDA_MPS_PIPE_DIRECTORY
    on_each_node env CUDA_MPS_PIPE_DIRECTORY="$CUDA_MPS_PIPE_DIRECTORY" CUDA_MPS_LOG_DIRECTORY="$CUDA_MPS_PIPE_DIRECTORY" \
        sh -c 'rm -rf "$CUDA_MPS_PIPE_DIRECTORY" && mkdir -p "$CUDA_MPS_PIPE_DIRECTORY" && exec nvidia-cuda-mps-control -f' &
    # Until they listen.
    sleep 5
fi
{% endif %}

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
# comes before `mpidl run` can listen ends it, with {{ job.ended_by_signal }}: nothing is lost then.
if [ "$code" -eq {{ job.ended_by_signal }} ]; then
    code=75
fi
if [ "$code" -eq 75 ] && [ -n "$cancelled" ]; then
    echo "stopped; submitted again, it goes on from its checkpoint"
    exit 143
fi
{% block requeue %}{% endblock %}
exit "$code"
