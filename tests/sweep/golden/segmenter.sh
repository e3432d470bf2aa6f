#!/bin/bash

# Parameters
#SBATCH --begin=now+1hour
#SBATCH --cpus-per-task=1
#SBATCH --error=ROOT/results/work/jobs/%j_0_log.err
#SBATCH --gpus-per-node=2
#SBATCH --job-name=videomt-segmenter
#SBATCH --mem=65536MB
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=2
#SBATCH --open-mode=append
#SBATCH --output=ROOT/results/work/jobs/%j_0_log.out
#SBATCH --partition=gpu
#SBATCH --requeue
#SBATCH --signal=USR2@90
#SBATCH --time=240
#SBATCH --wckey=submitit

# setup
module load cuda
cd ROOT/results/work/snapshots/HASH || exit 1
export PYTHONPATH=ROOT/results/work/snapshots/HASH${PYTHONPATH:+:$PYTHONPATH}
export VIDEOMT_BENCH_VARIANTS=''
export OMP_NUM_THREADS=1

# command
export SUBMITIT_EXECUTOR=slurm
srun --unbuffered --output ROOT/results/work/jobs/%j_%t_log.out --error ROOT/results/work/jobs/%j_%t_log.err --cpus-per-task=1 --kill-on-bad-exit=1 PYTHON -u -m submitit.core._submit ROOT/results/work/jobs
