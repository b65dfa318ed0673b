{% extends "job.sh" %}
{% set mark, account, partition = "#BSUB", "-P ", "-q " %}
{% set ranks, number = '"$LSB_DJOB_NUMPROC"', "$LSB_JOBID-${LSB_JOBINDEX:-0}" %}
{% set program, submitting = "bsub", "CONFIG=configs/quickstart-dsgd.yaml bsub < " ~ file %}
{% set task = '"$LSB_JOBINDEX"' %}
{% set replacing = "CONFIG=… bsub -W 02:00 -q gpu < jobs/…" %}
{% block size %}
{% if job.tasks %}
# A task for each of the runs below{{ ", at most so many at a time" if job.at_once }}; each is a job of the size that is told here.
#BSUB -J "{{ job.name }}[1-{{ job.tasks | length }}]{{ "%%%d" % job.at_once if job.at_once }}"
{% else %}
#BSUB -J {{ job.name }}
{% endif %}
# A slot is a rank. An agent is not a rank: 16 agents run on 8 ranks as well, two on each, with the same numbers.
#BSUB -n {{ job.ranks }}
#BSUB -R "span[ptile={{ job.ranks_per_node }}] affinity[core({{ job.cores_per_rank }})]"
{% if asks.gpus_per_node %}
# On each node; ranks take them in turn.
#BSUB -gpu "num={{ asks.gpus_per_node }}"
{% endif %}
{% if asks.time is not none %}
# Hours and minutes.
#BSUB -W {{ asks.time | hours }}
# The signal comes so many minutes before.
#BSUB -wa {{ job.signal }}
#BSUB -wt {{ (asks.notice + 59) // 60 }}
{% endif %}
{% endblock %}
{% block again %}
# Code 75 has it start again, under the same number; so has the death of a node.
#BSUB -Q 75
#BSUB -r
# Goes on with the same log. %J is the number{{ ", %I that of the task" if job.tasks }}.
#BSUB -o {{ (job.log ~ (".%J.%I.log" if job.tasks else ".%J.log")) | quoted }}
{% endblock %}
{% block configuration %}
config="${CONFIG:?usage: CONFIG=my.yaml bsub < jobs/lsf-….sh}"
{% endblock %}
{% block on_each_node %}
on_each_node() {
    local host
    sort -u "$LSB_DJOB_HOSTFILE" | while read -r host; do blaunch "$host" "$@" </dev/null & done
    wait
}
{% endblock %}
{% block why_signal %}
# LSF sends {{ job.signal }} before the time is over.
{% endblock %}
{% block requeue %}
# LSF reads the code.
{% endblock %}
