{% extends "job.sh" %}
{% set mark, account, partition = "#SBATCH", "--account=", "--partition=" %}
{% set ranks, number = '"$SLURM_NTASKS"', "$SLURM_JOB_ID" %}
{% set more = "train.rounds=100" if job.tasks else "algorithm.lr=0.05" %}
{% set program, submitting = "sbatch", "sbatch " ~ file ~ " configs/quickstart-dsgd.yaml -s " ~ more %}
{% set task = '"${SLURM_ARRAY_TASK_ID:?a sweep is an array of tasks: sbatch --array=1-%d}"' % job.tasks | length %}
{% set replacing = "sbatch --time=02:00:00 --partition=gpu jobs/…" %}
{% block size %}
#SBATCH --job-name={{ job.name | quoted }}
#SBATCH --nodes={{ asks.nodes }}
{% if job.tasks %}
# A task for each of the runs below{{ ", at most so many at a time" if job.at_once }}; each is a job of the size that is told here.
#SBATCH --array=1-{{ job.tasks | length }}{{ "%%%d" % job.at_once if job.at_once }}
{% endif %}
# A task is a rank. An agent is not a rank: 16 agents run on 8 ranks as well, two on each, with the same numbers.
#SBATCH --ntasks={{ job.ranks }}
#SBATCH --ntasks-per-node={{ job.ranks_per_node }}
#SBATCH --cpus-per-task={{ job.cores_per_rank }}
{% if asks.gpus_per_node %}
# Ranks take the GPU of their number on the node, all GPUs in turn.
#SBATCH --gpus-per-node={{ asks.gpus_per_node }}
{% endif %}
{% if asks.time is not none %}
#SBATCH --time={{ asks.time | clock }}
{% endif %}
{% endblock %}
{% block again %}
# {{ asks.notice }} s before the time is over, to this shell alone (B): ranks must hear it from mpidl run.
#SBATCH --signal=B:{{ job.signal }}@{{ asks.notice }}
# It may start again, under the same number, and goes on with the same log. {{ "%A is the number, %a that of the task" if job.tasks else "%j is the number" }}.
#SBATCH --requeue
#SBATCH --output={{ (job.log.replace("%", "%%") ~ ("-%A_%a.log" if job.tasks else "-%j.log")) | quoted }}
#SBATCH --open-mode=append
{% endblock %}
{% block configuration %}
config="${1:?usage: sbatch jobs/slurm-….sh CONFIG [more words for mpidl run]}"
shift
{% endblock %}
{% block on_each_node %}
on_each_node() { srun --overlap --ntasks="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 "$@"; }
{% endblock %}
{% block why_signal %}
# Slurm sends {{ job.signal }} to this shell before the time is over.
{% endblock %}
{% block requeue %}
if [ "$code" -eq 75 ]; then
    # The number of one of an array's tasks stands for all of them.
    [ -z "${SLURM_ARRAY_JOB_ID:-}" ] || SLURM_JOB_ID="${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
    scontrol requeue "$SLURM_JOB_ID" || echo "not requeued; submitted again, it goes on from its checkpoint"
fi
{% endblock %}
