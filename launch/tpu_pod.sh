#!/usr/bin/env bash
# Trains on a Cloud TPU pod slice, and goes on after a preemption.
#
#   NAME=vivit ZONE=us-central2-b TYPE=v4-32 launch/tpu_pod.sh run \
#     --config=configs/k400_b16x2_fe.py --workdir=/mnt/runs/k400_b16x2_fe
#   NAME=vivit ZONE=us-central2-b launch/tpu_pod.sh stop     # with a checkpoint,
#                                                  # after Ctrl-C of the first
#   NAME=vivit ZONE=us-central2-b launch/tpu_pod.sh delete   # the machines
#
# run: creates the slice if it is not there, copies this commit, installs, runs
# train.py on all workers, and does so again until it ends well. A preempted
# slice is made anew. A mistake in the config (code 2) ends the loop, and so do
# ATTEMPTS failures (5) in a row, each within MINUTES (10).
#
# The workdir and the data must be the same folders on all workers: PREPARE is a
# command that mounts them there, as in
#   PREPARE='sudo mkdir -p /mnt/runs && sudo mount 10.0.0.2:/runs /mnt/runs'
#
# VERSION=...    runtime (tpu-ubuntu2204-base)
# SPOT=1         a slice that may be preempted
# QUEUED=1       ask for it by a queued resource, and wait
# CLONE=URL      clone the commit from there, instead of copying it
# DRY_RUN=1      print what would run
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2

: "${NAME:?is missing: the name of the slice}"
: "${ZONE:?is missing: as in us-central2-b}"
VERSION=${VERSION:-tpu-ubuntu2204-base}
HERE=(--zone="$ZONE" --quiet)
TPU=(gcloud compute tpus)

# Runs a command, or prints it.
act() {
  if [[ ${DRY_RUN:-} == 1 ]]; then
    printf '%q ' "$@"
    echo
  else
    "$@"
  fi
}

on_all_workers() {
  act "${TPU[@]}" tpu-vm ssh "$NAME" "${HERE[@]}" --worker=all --command="$1"
}

state() {
  if [[ ${DRY_RUN:-} == 1 ]]; then
    return
  fi
  "${TPU[@]}" tpu-vm describe "$NAME" "${HERE[@]}" --format='value(state)' \
    2>/dev/null
}

delete() {
  if [[ ${QUEUED:-} == 1 ]]; then
    act "${TPU[@]}" queued-resources delete "$NAME" "${HERE[@]}" --force
  else
    act "${TPU[@]}" tpu-vm delete "$NAME" "${HERE[@]}"
  fi
}

create() {
  local options=("${HERE[@]}" --accelerator-type="${TYPE:?is missing: as in v4-32}")
  if [[ ${SPOT:-} == 1 ]]; then options+=(--spot); fi
  if [[ ${QUEUED:-} == 1 ]]; then
    act "${TPU[@]}" queued-resources create "$NAME" --node-id="$NAME" \
      "${options[@]}" --runtime-version="$VERSION" || return
    until [[ ${DRY_RUN:-} == 1 || $(state) == READY ]]; do sleep 60; done
  else
    act "${TPU[@]}" tpu-vm create "$NAME" "${options[@]}" --version="$VERSION"
  fi
}

# The commit, and an environment. The image's own Python may be too old.
install() {
  local commit fetch archive
  commit=$(git rev-parse HEAD) || return
  if [[ -n ${CLONE:-} ]]; then
    fetch="{ [ -d vivit_jax ] || git clone -q $(printf %q "$CLONE") vivit_jax; }"
    fetch+=" && git -C vivit_jax fetch -q && git -C vivit_jax checkout -q $commit"
  else
    archive=${TMPDIR:-/tmp}/vivit_jax-$commit.tar
    act git archive --prefix=vivit_jax/ --output="$archive" "$commit" || return
    act "${TPU[@]}" tpu-vm scp "$archive" "$NAME:vivit_jax.tar" "${HERE[@]}" \
      --worker=all || return
    fetch='tar -xf vivit_jax.tar'
  fi
  local jax
  jax=$(sed -n 's/^jax==//p' requirements.txt)
  on_all_workers "$fetch && cd vivit_jax && pip install --quiet --user uv && \
~/.local/bin/uv venv --quiet --allow-existing --python=3.12 .venv && \
~/.local/bin/uv pip install --quiet --python=.venv/bin/python \
-r requirements.txt 'jax[tpu]==$jax'"
}

# Ends with the largest code that train.py ended with on a worker.
train() {
  local words='' code log
  if (($#)); then words=$(printf ' %q' "$@"); fi
  if [[ ${DRY_RUN:-} == 1 ]]; then
    on_all_workers "bash vivit_jax/launch/tpu_worker.sh$words"
    return
  fi
  log=$(mktemp)
  on_all_workers "bash vivit_jax/launch/tpu_worker.sh$words" | tee "$log"
  code=$(sed -n 's/^train.py ended with code //p' "$log" | sort -n | tail -n 1)
  rm -f "$log"
  return "${code:-1}"
}

run() {
  local failures=0 begin code
  while true; do
    begin=$SECONDS
    if [[ $(state) != READY ]]; then
      if [[ -n $(state) ]]; then delete; fi
      create && sleep "${SETTLE:-0}"
    fi && on_all_workers "${PREPARE:-true}" && install && train "$@"
    code=$?
    if ((code == 0 || code == 2)); then return "$code"; fi
    failures=$((SECONDS - begin < 60 * ${MINUTES:-10} ? failures + 1 : 0))
    if ((failures >= ${ATTEMPTS:-5})); then
      echo "$failures failures in a row, the last with code $code" >&2
      return "$code"
    fi
    echo "ended with code $code; the slice is '$(state)'; going on" >&2
    sleep "${PAUSE:-30}"
  done
}

stop() {
  # shellcheck disable=SC2016 # for the workers' shells
  on_all_workers 'kill -TERM "$(cat vivit_jax/train.pid)"'
}

case ${1:-} in
  run) shift && run "$@" ;;
  stop) stop ;;
  delete) delete ;;
  *) echo 'usage: launch/tpu_pod.sh run|stop|delete [flags of train.py]' >&2 && exit 2 ;;
esac
