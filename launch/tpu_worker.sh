#!/usr/bin/env bash
# Trains on one worker of a TPU slice; tpu_pod.sh calls it on all of them.
#
# train.py does not end with the connection: where it is running already, its
# log is followed. The last line tells its exit code.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2

if ! { [[ -e train.pid ]] && kill -0 "$(cat train.pid)" 2>/dev/null; }; then
  rm -f train.pid train.code
  : >train.log
  # The process that is waited for is train.py's own, so that it gets signals.
  # shellcheck disable=SC2016 # for the inner shell
  setsid bash -c '
    "${PYTHON:-.venv/bin/python}" train.py "$@" >>train.log 2>&1 &
    echo $! >train.pid
    wait $!
    echo $? >train.code.part
    mv train.code.part train.code
  ' train "$@" </dev/null >/dev/null 2>&1 &
fi
until [[ -e train.pid ]]; do sleep 0.1; done
tail --lines=+1 --follow --pid="$(cat train.pid)" train.log
until [[ -e train.code ]]; do sleep 0.1; done
code=$(cat train.code)
echo "train.py ended with code $code"
exit "$code"
