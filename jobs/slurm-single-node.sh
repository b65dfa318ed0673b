#!/bin/bash
# One training on one node. Submit from the folder that holds the configuration:
#
#     sbatch jobs/slurm-single-node.sh configs/quickstart-dsgd.yaml -s algorithm.lr=0.05
#
# Options on sbatch's command line replace those below: sbatch --time=02:00:00 --partition=gpu jobs/slurm-single-node.sh …

#SBATCH --job-name=mpidl
#SBATCH --nodes=1
# A task a rank. An agent is not a rank: 16 agents run on 8 ranks as well, two on each, with the same numbers.
#SBATCH --ntasks=8
#SBATCH --cpus-per-task=1
#SBATCH --time=00:30:00
# %x is the job's name, %j its number.
#SBATCH --output=%x-%j.log
# With GPUs, ask for one per rank; each rank takes the one with its number on the node:
##SBATCH --gpus-per-node=8

set -euo pipefail

# What you load when you work by hand; with the cluster's MPI, mpidl is installed without its `mpi` extra.
# module load python openmpi
# source ~/venvs/mpidl/bin/activate

config="${1:?usage: sbatch jobs/slurm-single-node.sh CONFIG [more words for mpidl run]}"
shift

# Everything a question to the mpidl authors or the cluster's support would need, at the top of the log.
mpidl env

mkdir -p runs
# Started here and not by srun: mpidl finds the launcher that belongs to the MPI which mpi4py loads.
exec mpidl run "$config" -n "$SLURM_NTASKS" -o "runs/$(basename "$config" .yaml)-$SLURM_JOB_ID.h5" "$@"
