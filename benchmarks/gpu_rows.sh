#!/usr/bin/env bash
# Training runs of the results table that need a GPU, within a bounded time: our networks with three seeds, whole fields
# of CRIC, and the paper's single-cell runs with the paper's recipe. Run it from the root of a checkout after `gpu.sh 1`,
# whose WORK it shares. Several runs share the GPU. Runs that do not finish in time are continued by the same call. Six
# runs at once on an H200 with 16 cores took over five minutes to their first step, and none finished in six minutes.
# The default is therefore three; give as much time as possible.
#
#   OUT=results LIMIT=380 PREPARED=tfds WHEELS=wheels benchmarks/gpu_rows.sh
#
#   OUT       folder for results: rows.tgz contains outcomes, predictions and reports, without weights
#   PREPARED  folder of prepared data sets (`cervix_jax.prepare --data_dir`): sipakmed/single_cell, herlev/default, cric/field
#   CELLS     prepared cells of the paper's runs (those of gpu.sh)
#   WHEELS    folder of wheels to install first; empty: install nothing
#   WORK      see gpu.sh
#   LIMIT     time limit in seconds
#   AT_ONCE   number of runs that share the GPU
set -u
OUT=${OUT:-gpu_results} PREPARED=${PREPARED:-tfds} WHEELS=${WHEELS:-} WORK=${WORK:-/tmp/cervix_gpu}
CELLS=${CELLS:-$WORK/tfds} LIMIT=${LIMIT:-380} AT_ONCE=${AT_ONCE:-3}
mkdir -p "$OUT" "$WORK/rows"
export PYTHONPATH="$WORK/site:." XDG_CACHE_HOME="$WORK/cache" PYTHONUNBUFFERED=1
export JAX_COMPILATION_CACHE_DIR="$WORK/compiled" XLA_PYTHON_CLIENT_PREALLOCATE=false
if [ -n "$WHEELS" ]; then
  python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --target "$WORK/site" "$WHEELS"/*.whl
fi
export END=$(($(date +%s) + LIMIT - SECONDS - 15)) WORK OUT
field="--seeds=3 --set=cric:data.check_counts=False --set=cric/field:image_size=256 --set=cric/field:num_epochs=30"
field+=" --set=cric/field:batch_size=16"
rows() {
  for each in own/block own/cluster own/paper,own/paper_clusters own_herlev/paper,own_herlev/cluster; do
    echo "$PREPARED --only=$each --seeds=3"
  done
  for each in densenet121 rcan efficientnet_lite0 resnet50 rcan_blocks; do
    echo "$PREPARED --only=cric_field_$each/cluster $field"
  done
  for each in baseline2 model3 model6; do echo "$CELLS --only=$each/paper"; done
}
one() { # DATA ARGUMENTS...: ends in time to save itself
  local data=$1 name start=$SECONDS
  shift
  name=${1#--only=} name=${name//[^a-z0-9_]/_}
  local left=$((END - $(date +%s)))
  if [ "$left" -lt 20 ]; then echo "$name: no time left" | tee -a "$OUT/rows_times.txt" && return; fi
  timeout -k 8 "$left" python3 -m cervix_jax.reproduce --out="$WORK/rows" --noshortcuts \
    --data_dir="$data" "$@" >"$WORK/rows_$name.txt" 2>&1
  echo "$name: exit code $?, $((SECONDS - start)) s" | tee -a "$OUT/rows_times.txt"
}
export -f one
rows | xargs -P "$AT_ONCE" -I{} bash -c 'one {}'
for log in "$WORK"/rows_*.txt; do echo "== $log" && tail -n 12 "$log" | tr '\r' '\n' | tail -n 12; done >"$OUT/rows_log.txt"
tar czf "$OUT/rows.tgz" --exclude=checkpoints --exclude=tensorboard --exclude='events*' --exclude='*.png' \
  --exclude=fingerprints.npz -C "$WORK" rows
