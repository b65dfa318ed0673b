{% extends "job.sh" %}
{% set mark, account, partition = "#PBS", "-A ", "-q " %}
{% set ranks, number = '"$(wc -l <"$PBS_NODEFILE")"', "${PBS_JOBID%%.*}" %}
{% set program, submitting = "qsub", "qsub -v CONFIG=configs/quickstart-dsgd.yaml " ~ file %}
{% set task = '"${PBS_ARRAY_INDEX:-1}"' %}
{% set replacing = "qsub -l walltime=02:00:00 -q gpu -v CONFIG=… jobs/…" %}
{% block size %}
#PBS -N {{ job.name }}
{% if job.tasks | length > 1 %}
# A task for each of the runs below{{ ", at most so many at a time" if job.at_once }}; each is a job of the size that is told here.
#PBS -J 1-{{ job.tasks | length }}
{% if job.at_once %}
#PBS -W max_run_subjobs={{ job.at_once }}
{% endif %}
{% endif %}
# A chunk is a node, and mpiprocs its ranks. An agent is not a rank: 16 agents run on 8 ranks as well, two on each.
#PBS -l select={{ asks.nodes }}:ncpus={{ job.ranks_per_node * job.cores_per_rank }}:mpiprocs={{ job.ranks_per_node }}{{ ":ngpus=" ~ asks.gpus_per_node if asks.gpus_per_node }}
#PBS -l place=scatter
{% if asks.time is not none %}
#PBS -l walltime={{ asks.time | clock }}
{% endif %}
{% endblock %}
{% block again %}
# It may start again, under the same number.
#PBS -r y
# Output and errors in one file.
#PBS -j oe
#PBS -o {{ job.log | quoted }}{{ ".^array_index^" if job.tasks | length > 1 }}.log
{% endblock %}
{% block folder %}
# PBS begins in the home folder.
cd "$PBS_O_WORKDIR" || exit 2
{% endblock %}
{% block configuration %}
config="${CONFIG:?usage: qsub -v CONFIG=my.yaml jobs/pbs-….sh}"
{% endblock %}
{% block walltime %}
{% if job.stops_after is not none %}
# PBS sends nothing before the time is over: the run itself stops after a checkpoint, {{ asks.notice }} s before.
run+=(-s train.walltime={{ job.stops_after }})
{% endif %}
{% endblock %}
{% block on_each_node %}
on_each_node() {
    local host
    sort -u "$PBS_NODEFILE" | while read -r host; do pbs_tmrsh "$host" "$@" </dev/null & done
    wait
}
{% endblock %}
{% block why_signal %}
# `qsig -s {{ job.signal }} JOB` has the run stop and start again.
{% endblock %}
{% block requeue %}
if [ "$code" -eq 75 ]; then
    # Many sites leave this to their operators.
    qrerun "$PBS_JOBID" || echo "not requeued; submitted again, it goes on from its checkpoint"
fi
{% endblock %}
