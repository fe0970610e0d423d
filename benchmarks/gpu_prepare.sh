#!/usr/bin/env bash
# Makes the files that benchmarks/gpu.sh needs on a GPU machine without a package index and without data. Run it on a
# machine that has both:
#
#   benchmarks/gpu_prepare.sh /path/to/SIPaKMeD OUT      # OUT/cells and OUT/wheels, together about 60 MB
#
# The wheels are for Linux x86-64 and CPython 3.12. The GPU machine must already have jax, flax, optax,
# orbax-checkpoint, scikit-learn, scikit-image, matplotlib and torch.
set -euo pipefail
cells=${1:?usage: gpu_prepare.sh SIPAKMED OUT} out=${2:?usage: gpu_prepare.sh SIPAKMED OUT}
wheels="$out/wheels"
mkdir -p "$wheels"
platforms=()
for tag in manylinux1 manylinux2014 manylinux_2_{17,24,27,28,31,34,35}; do platforms+=(--platform "${tag}_x86_64"); done
python3 -m pip download -q --no-deps --only-binary=:all: --python-version 3.12 --implementation cp "${platforms[@]}" \
  -d "$wheels" tensorflow-datasets==4.9.10 grain==0.2.18 array-record==0.8.6 ml-collections==1.1.0 clu==0.0.12 \
  importlib_resources dm-tree immutabledict simple-parsing tensorflow-metadata toml docstring-parser \
  googleapis-common-protos termcolor tensorboardX portpicker psutil captum==0.9.0
python3 -m pip wheel -q --no-deps promise==2.3 -w "$wheels"
python3 "$(dirname "$0")/gpu_cells.py" "$cells" "$out/cells"
du -sh "$out"/*
