{% extends "job.sh" %}
{% block ranks %}"$SLURM_NTASKS"{% endblock %}
{% block number %}$SLURM_JOB_ID{% endblock %}
{% block usage %}
{% if job.run is none %}
# One training on {{ "one node" if asks.nodes == 1 else "several nodes, with their GPUs" }}. From the folder where the configuration and its output belong:
#
#     sbatch jobs/slurm-{{ "single-node" if asks.nodes == 1 else "gpu-nodes" }}.sh configs/quickstart-dsgd.yaml -s algorithm.lr=0.05
#
# Options on sbatch's command line replace those below: sbatch --time=02:00:00 --partition=gpu jobs/…
{% endif %}
{% endblock %}
{% block directives %}
#SBATCH --job-name={{ job.name | quoted }}
#SBATCH --nodes={{ asks.nodes }}
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
{% if asks.account is not none %}
#SBATCH --account={{ asks.account | quoted }}
{% endif %}
{% if asks.partition is not none %}
#SBATCH --partition={{ asks.partition | quoted }}
{% endif %}
# {{ asks.notice }} s before the time is over, to this shell alone (B): ranks must hear it from mpidl run.
#SBATCH --signal=B:{{ job.signal }}@{{ asks.notice }}
# It may start again, under the same number, and goes on with the same log. %j is the number.
#SBATCH --requeue
#SBATCH --output={{ (job.log.replace("%", "%%") ~ "-%j.log") | quoted }}
#SBATCH --open-mode=append
{% for line in asks.directives %}
#SBATCH {{ line }}
{% endfor %}
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
