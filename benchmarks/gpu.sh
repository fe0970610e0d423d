#!/usr/bin/env bash
# All measurements on a machine with an NVIDIA GPU, in one or two calls of bounded length. Run it from the root of a
# checkout:
#
#   OUT=results CELLS=cells benchmarks/gpu.sh 1    # at most 9.5 minutes: speed against PyTorch, then the paper's runs
#   OUT=results CELLS=cells benchmarks/gpu.sh 2    # at most 4.5 minutes: continues the runs of part 1
#   python benchmarks/gpu_table.py results         # tables in Markdown
#
# benchmarks/gpu_prepare.sh makes CELLS, a copy of SIPaKMeD's single cells, and WHEELS, for a machine without a package
# index. Every step has its own time limit and writes its results as they come. A step that fails does not stop the
# script. Results go to OUT and temporary files to WORK. Environment variables:
#
#   OUT       folder for results, made if missing (gpu_results)
#   CELLS     folder of the cells (gpu_cells)
#   WHEELS    folder of wheels to install first; empty: install nothing
#   WORK      folder of runs, prepared data and compiled programs (/tmp/cervix_gpu); part 2 needs the folder of part 1
#   LIMIT     time limit of the part in seconds (570, 270; 20 times as much in a rehearsal)
#   REHEARSE  1: run every step on the CPU, with the same commands and small sizes
#   DRY_RUN   1: print the commands only
set -u
part=${1:-1}
OUT=${OUT:-gpu_results} CELLS=${CELLS:-gpu_cells} WHEELS=${WHEELS:-} WORK=${WORK:-/tmp/cervix_gpu}
REHEARSE=${REHEARSE:-} DRY_RUN=${DRY_RUN:-}
case $part in 1) default_limit=570 ;; 2) default_limit=270 ;; *) echo "usage: $0 1|2" >&2 && exit 2 ;; esac
if [ -z "$REHEARSE" ]; then
  size=(--batch_sizes=128 --steps=20 --rounds=5 --torch_compile=inductor --together)
  explained=(--images=8 --baselines=10 --steps=50 --batch_sizes=128 --loop_images=1 --rounds=2)
  row_size=() counts=() slower=1
else
  # A CPU of few cores takes long to compile, even with little optimisation, so the limits are wider.
  export JAX_PLATFORMS=cpu CUDA_VISIBLE_DEVICES='' OMP_NUM_THREADS=1 XLA_FLAGS=--xla_backend_optimization_level=0
  slower=20
  size=(--batch_sizes=2 --steps=1 --rounds=2 --torch_compile=eager --image_size=64 --together)
  explained=(--images=2 --baselines=2 --steps=3 --batch_sizes=4 --loop_images=1 --rounds=1 --image_size=64)
  counts=(--nocheck_counts)
  row_size=(--config.num_epochs=2 --config.image_size=32 --config.data.check_counts=False)
fi
LIMIT=${LIMIT:-$((default_limit * slower))}
log="$OUT/log_$part.txt" times="$OUT/times_$part.txt"
export TFDS_DATA_DIR="$WORK/tfds" XDG_CACHE_HOME="$WORK/cache" PYTHONUNBUFFERED=1 PYTHONPATH="$WORK/site:."
# A program is compiled once, whichever process needs it. Several processes share the card.
export JAX_COMPILATION_CACHE_DIR="$WORK/compiled" XLA_PYTHON_CLIENT_PREALLOCATE=false

say() { if [ -n "$DRY_RUN" ]; then echo "# $*"; else echo "$*" | tee -a "$times"; fi; }

left() { echo $((LIMIT - SECONDS)); }

step() { # NAME SECONDS COMMAND...: never longer than that, nor than what is left; its output and its time are kept
  local name=$1 limit=$2 start=$SECONDS own code
  shift 2
  if [ -n "$DRY_RUN" ]; then
    echo "$*"
    return
  fi
  if [ "$(left)" -lt 10 ]; then
    say "$name: no time left"
    return
  fi
  limit=$((limit * slower))
  if [ "$limit" -gt "$(($(left) - 5))" ]; then limit=$(($(left) - 5)); fi
  own="$WORK/step_${name//[^a-z0-9]/_}.txt"
  # SIGTERM lets a training run save itself; SIGKILL comes to what does not end.
  timeout -k 10 "$limit" "$@" >"$own" 2>&1
  code=$?
  say "$name: exit code $code, $((SECONDS - start)) s"
  { echo "== $name" && tail -n 60 "$own" | tr '\r' '\n'; } >>"$log"
  return "$code"
}

row() { # NETWORK: the paper's single-cell row with its own recipe (224 pixels, 50 epochs), from random weights
  # Ends early enough that the run can save itself before the part is over: part 2 goes on with it.
  step "$1, paper's recipe" "$(($(left) - 25))" python3 -m cervix_jax.main \
    --config="configs/$1.py:sipakmed/single_cell,recipe=paper" --config.data.manual_dir="$CELLS" \
    --config.cross_validation.seeds=0 "${row_size[@]}" --workdir="$WORK/runs/$1"
}

rows() { # All at once: one network of batch 16 leaves most of a large card idle.
  local network
  for network in rcan densenet121 resnet50; do
    if [ -n "$DRY_RUN" ]; then row "$network"; else row "$network" & fi
  done
  wait
}

keep() { # What the runs say, without their weights.
  if [ -z "$DRY_RUN" ] && [ -d "$WORK/runs" ]; then
    tar czf "$OUT/runs_$part.tgz" --exclude=checkpoints --exclude=tensorboard --exclude='events*' -C "$WORK" runs
  fi
}

if [ -z "$DRY_RUN" ]; then
  mkdir -p "$OUT" "$WORK/runs" || exit 1
  : >"$log"
  : >"$times"
  if [ -n "$WHEELS" ] && [ ! -d "$WORK/site" ]; then
    python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --target "$WORK/site" "$WHEELS"/*.whl ||
      say "the wheels in $WHEELS could not be installed"
  fi
fi

if ! step "versions" 60 python3 benchmarks/gpu_table.py --machine="$OUT/machine_$part.json" && [ -z "$REHEARSE" ]; then
  say "something is missing, see machine_$part.json: bring it, and start again" # before it costs more of the card's time
  exit 1
fi
if [ "$part" = 1 ]; then
  # Equal logits are seen to first; both sides in bfloat16, PyTorch channels_last and compiled.
  step "throughput, training" 260 python3 benchmarks/throughput.py --models=resnet50,densenet121 --tasks=train \
    --precision=bfloat16 "${size[@]}" --out="$OUT/throughput_train.json"
  step "throughput, inference" 120 python3 benchmarks/throughput.py --models=resnet50,densenet121 --tasks=infer \
    --precision=bfloat16 "${size[@]}" --out="$OUT/throughput_infer.json"
  step "integrated gradients" 150 python3 benchmarks/explain.py "${explained[@]}" --out="$OUT/explain.json"
fi
step "prepare the data" 60 python3 -m cervix_jax.prepare --dataset=sipakmed/single_cell --manual_dir="$CELLS" \
  "${counts[@]}"
rows
keep
if [ "$part" = 2 ]; then
  step "integrated gradients, bfloat16" 100 python3 benchmarks/explain.py "${explained[@]}" --precision=bfloat16 \
    --out="$OUT/explain_bfloat16.json"
fi
say "part $part: $SECONDS s"
