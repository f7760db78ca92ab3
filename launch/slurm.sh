#!/usr/bin/env bash
# Trains on a Slurm cluster, and goes on after a preemption or a time limit.
#
#   sbatch --nodes=2 --gres=gpu:8 --time=24:00:00 launch/slurm.sh \
#     --config=configs/k400_b16x2_fe.py --workdir=runs/k400_b16x2_fe
#
# One task a node drives all its devices; --ntasks-per-node=8 --gpus-per-task=1
# makes it one task a GPU. Processes find each other by Slurm's own variables.
# Submit from the repository, or set REPOSITORY.
#
# 90 s before the end of the job's time, and at a preemption, Slurm sends this
# shell SIGTERM. It hands it to train.py, which writes a checkpoint and ends with
# a code that is not 0; then the job is put into the queue again.
#
# PYTHON=...    of the environment (.venv/bin/python)
# FINISHED=...  a file to make when training has ended well
# DRY_RUN=1     print what would run
#SBATCH --job-name=vivit
#SBATCH --ntasks-per-node=1
#SBATCH --output=slurm-%j.txt
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:TERM@90
set -uo pipefail

cd "${REPOSITORY:-${SLURM_SUBMIT_DIR:-.}}" || exit 2
options=(--kill-on-bad-exit=1)
# srun does not take this from sbatch by itself.
if [[ -n ${SLURM_CPUS_PER_TASK:-} ]]; then
  options+=(--cpus-per-task="$SLURM_CPUS_PER_TASK")
fi
command=(srun "${options[@]}" "${PYTHON:-.venv/bin/python}" train.py "$@")
if [[ ${DRY_RUN:-} == 1 ]]; then
  printf '%q ' "${command[@]}"
  echo
  exit 0
fi

job=${SLURM_JOB_ID:-}
if [[ -n ${SLURM_ARRAY_JOB_ID:-} ]]; then
  job=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID
fi
stopping=0 # signals so far
child=
# shellcheck disable=SC2329 # the trap calls it
hand_on() {
  stopping=$((stopping + 1))
  if [[ -n $child ]]; then kill -TERM "$child"; fi
}
trap hand_on TERM

"${command[@]}" &
child=$!
waited=-1
while ((waited != stopping)); do # a signal ends the wait, not the child
  waited=$stopping
  wait "$child"
  code=$?
done

if ((code == 0)); then
  if [[ -n ${FINISHED:-} ]]; then touch "$FINISHED"; fi
elif ((stopping)); then
  # A job that its owner cancelled is not running any more.
  if [[ $(squeue -h -j "$job" -o %T) == RUNNING ]]; then
    echo "stopped with code $code; the job $job goes back into the queue"
    scontrol requeue "$job"
  fi
fi
exit "$code"
