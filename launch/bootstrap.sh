#!/usr/bin/env bash
# On each machine: install this checkout, and see that JAX finds the accelerator.
#   bash launch/bootstrap.sh tpu|cuda|cpu
# The versions are those of launch/constraints.txt, so that every machine, and one that comes in place
# of another days later, has the same. CERVIX_PYTHON is the Python, 3.13 unless it is set.
set -euo pipefail
cd "$(dirname "$0")/.."

accelerator=${1:-tpu}
case "$accelerator" in
  tpu | cuda) package=".[$accelerator]" expected=$([ "$accelerator" = cuda ] && echo gpu || echo tpu) ;;
  cpu) package="." expected=cpu ;;
  *) echo "error: accelerator '$accelerator' is unknown; give tpu, cuda or cpu." >&2; exit 2 ;;
esac

# The images have Python 3.10, which is too old for JAX; uv brings its own.
export PATH="$HOME/.local/bin:$PATH"
if ! command -v uv >/dev/null; then
  python3 -m pip install --quiet --user uv
fi
uv venv --quiet --allow-existing --python "${CERVIX_PYTHON:-3.13}" .venv
uv pip install --quiet --python .venv/bin/python --constraint launch/constraints.txt \
  --editable "$package"

# A slice of several machines has its devices only when all of them ask.
timeout 600 .venv/bin/python - "$expected" <<'PYTHON'
import platform, sys
from importlib import metadata
import jax

versions = {}
for name in ("jax", "jaxlib", "libtpu", "flax"):
    try:
        versions[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        pass
devices = jax.local_devices()
print(platform.node(), platform.python_version(), versions, len(devices), devices[0].device_kind)
if devices[0].platform != sys.argv[1]:
    sys.exit(f"error: JAX runs on {devices[0].platform}, not on {sys.argv[1]}; is the runtime "
             "version right for this type, and does no other process hold the accelerator?")
PYTHON
