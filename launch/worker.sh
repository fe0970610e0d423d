#!/usr/bin/env bash
# Trains with this checkout on one machine and returns the exit code of training
# (0 finished, 75 saved and stopped by SIGTERM, any other code failed).
#   bash launch/worker.sh [FLAGS OF cervix_jax.main]            train in the foreground
#   bash launch/worker.sh --detach [FLAGS OF cervix_jax.main]   train in the background
#   bash launch/worker.sh --status                              print the state of the background run
#
# --workdir=gs://BUCKET/FOLDER: the run is kept on the local disk. It is downloaded from the bucket if
# it is not on the disk, and copied to the bucket every CERVIX_MIRROR_SECONDS (default 300) and at the
# end.
# CERVIX_DATA=gs://BUCKET/FOLDER: prepared data, downloaded to the local disk.
set -euo pipefail
cd "$(dirname "$0")/.."

state=${CERVIX_STATE:-$HOME/cervix_jax}
python=${PYTHON:-.venv/bin/python}
mark="cervix-worker:"
fail() { echo "error: $1" >&2; exit "${2:-1}"; }

running() { # prints the process id of the background run if it is alive
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
if [ "${1:-}" = --record ]; then # internal: started by --detach
  shift
  record=yes
  trap 'echo $? >"$state/worker.exit"' EXIT
fi

[ -x "$(command -v "$python")" ] || fail "$python is missing; run launch/bootstrap.sh, or set PYTHON." 2

# Two programs cannot share a TPU; print the process that uses it, so that the user can end it.
devices=(/dev/accel* /dev/vfio/[0-9]*)
if [ -e "${devices[0]}" ] || [ -e "${devices[1]:-}" ]; then
  if command -v fuser >/dev/null && holders=$(fuser "${devices[@]}" 2>/dev/null) && [ -n "$holders" ]; then
    fail "the TPU is in use by process$holders; end that process first."
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

# With `exec` signals reach Python once, and its exit code is that of this script.
[ -n "$remote$record" ] || exec "$python" -m cervix_jax.main "${arguments[@]}"

if [ -n "$remote" ] && [ ! -e "$workdir" ]; then
  # Start a new run only if the bucket confirms that the folder is empty. The downloaded copy becomes
  # the workdir only when it is complete; otherwise a partial copy could overwrite the run.
  mkdir -p "$workdir.fetched"
  if said=$(gcloud storage ls "$remote/" 2>&1); then
    gcloud storage rsync --recursive --quiet "$remote" "$workdir.fetched"
  elif ! grep -qi "matched no objects" <<<"$said"; then
    fail "$remote cannot be read: $said"
  fi
  mv "$workdir.fetched" "$workdir"
fi

mirror() {
  # Copy new files before deleting old ones, so that the bucket always has a complete checkpoint.
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
      mirror || echo "warning: $remote could not be written; the copy will be retried." >&2
    done
  ) &
  mirroring=$!
fi

code=0
wait "$child" || code=$?
# A signal interrupts `wait`, which then returns its own code; call it again.
while [ -n "$signalled" ]; do
  signalled="" again=0
  wait "$child" 2>/dev/null || again=$?
  [ "$again" -eq 127 ] || code=$again
done

if [ -n "$remote" ]; then
  kill "$mirroring" 2>/dev/null || true
  wait "$mirroring" 2>/dev/null || true
  mirror || fail "the run exited with $code, but $remote could not be written; the run is in $workdir."
fi
exit "$code"
