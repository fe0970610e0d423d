#!/usr/bin/env bash
# On each machine: train, with this checkout, and end with the exit code of the training
# (0 done, 75 stopped by SIGTERM after saving and resumable, anything else a failure).
#   bash launch/worker.sh [FLAGS OF cervix_jax.main]            in this process
#   bash launch/worker.sh --detach [FLAGS OF cervix_jax.main]   goes on when the terminal is closed
#   bash launch/worker.sh --status                              what has become of the detached one
#
# --workdir=gs://BUCKET/FOLDER: the run lies on the local disk, is fetched from the bucket when it is
# not there, and is copied to it every CERVIX_MIRROR_SECONDS (default 300) and at the end.
# CERVIX_DATA=gs://BUCKET/FOLDER: prepared data, fetched to the local disk.
set -euo pipefail
cd "$(dirname "$0")/.."

state=${CERVIX_STATE:-$HOME/cervix_jax}
python=${PYTHON:-.venv/bin/python}
mark="cervix-worker:"
fail() { echo "error: $1" >&2; exit "${2:-1}"; }

running() { # the process number of the detached worker, if it lives
  local pid
  pid=$(cat "$state/worker.pid" 2>/dev/null) && kill -0 "$pid" 2>/dev/null && echo "$pid"
}

case "${1:-}" in
  --status)
    if pid=$(running); then echo "$mark running $pid"
    elif [ -s "$state/worker.exit" ]; then echo "$mark exit $(cat "$state/worker.exit")"
    elif [ -e "$state/worker.pid" ]; then echo "$mark lost"
    else echo "$mark none"; fi
    exit 0 ;;
  --detach)
    shift
    if pid=$(running); then echo "$mark running $pid (already)"; exit 0; fi
    mkdir -p "$state"
    rm -f "$state/worker.exit"
    setsid nohup bash launch/worker.sh --record "$@" >"$state/worker.log" 2>&1 </dev/null &
    echo $! >"$state/worker.pid"
    echo "$mark running $!"
    exit 0 ;;
esac

record=""
if [ "${1:-}" = --record ]; then # what --detach starts
  shift
  record=yes
  trap 'echo $? >"$state/worker.exit"' EXIT
fi

[ -x "$(command -v "$python")" ] || fail "$python is missing; run launch/bootstrap.sh, or set PYTHON." 2

# Two programs cannot have one TPU; say who has it, and leave it to the user to end it.
devices=(/dev/accel* /dev/vfio/[0-9]*)
if [ -e "${devices[0]}" ] || [ -e "${devices[1]:-}" ]; then
  if command -v fuser >/dev/null && holders=$(fuser "${devices[@]}" 2>/dev/null) && [ -n "$holders" ]; then
    fail "the TPU is held by process$holders; end it first."
  fi
fi

if [ -n "${CERVIX_DATA:-}" ]; then
  export TFDS_DATA_DIR=${TFDS_DATA_DIR:-$state/data}
  mkdir -p "$TFDS_DATA_DIR"
  gcloud storage rsync --recursive --quiet "$CERVIX_DATA" "$TFDS_DATA_DIR"
fi

remote="" arguments=()
for argument in "$@"; do
  case "$argument" in
    --workdir=gs://*)
      remote=${argument#--workdir=} remote=${remote%/}
      workdir=$state/runs/${remote#gs://}
      arguments+=("--workdir=$workdir") ;;
    *) arguments+=("$argument") ;;
  esac
done

# `exec`, so that signals reach Python once and its exit code is this script's.
[ -n "$remote$record" ] || exec "$python" -m cervix_jax.main "${arguments[@]}"

if [ -n "$remote" ] && [ ! -e "$workdir" ]; then
  # Only a bucket that says that it has nothing there may start a run from nothing. What is fetched
  # becomes the run when it is complete: half of it would be mirrored over what is whole.
  mkdir -p "$workdir.fetched"
  if said=$(gcloud storage ls "$remote/" 2>&1); then
    gcloud storage rsync --recursive --quiet "$remote" "$workdir.fetched"
  elif ! grep -qi "matched no objects" <<<"$said"; then
    fail "$remote cannot be read: $said"
  fi
  mv "$workdir.fetched" "$workdir"
fi

mirror() {
  # First what is new, then without what is old: at every moment the bucket has a whole checkpoint.
  local unfinished='.*orbax-checkpoint-tmp.*'
  if [ -n "$record" ]; then cp "$state/worker.log" "$workdir/worker.log"; fi
  gcloud storage rsync --recursive --quiet --exclude="$unfinished" "$workdir" "$remote" &&
    gcloud storage rsync --recursive --quiet --exclude="$unfinished" \
      --delete-unmatched-destination-objects "$workdir" "$remote"
}

"$python" -m cervix_jax.main "${arguments[@]}" &
child=$! signalled=""
trap 'signalled=yes; kill -TERM "$child" 2>/dev/null || true' TERM

mirroring=""
if [ -n "$remote" ]; then
  (
    trap 'kill "$nap" 2>/dev/null; exit 0' TERM
    while sleep "${CERVIX_MIRROR_SECONDS:-300}" & nap=$!; wait "$nap"; do
      mirror || echo "warning: $remote could not be written; trying again later." >&2
    done
  ) &
  mirroring=$!
fi

code=0
wait "$child" || code=$?
# A signal ends `wait` early, with a code of its own; then ask again.
while [ -n "$signalled" ]; do
  signalled="" again=0
  wait "$child" 2>/dev/null || again=$?
  [ "$again" -eq 127 ] || code=$again
done

if [ -n "$remote" ]; then
  kill "$mirroring" 2>/dev/null || true
  wait "$mirroring" 2>/dev/null || true
  mirror || fail "the run ended with $code, but $remote could not be written; it lies in $workdir."
fi
exit "$code"
