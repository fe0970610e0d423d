#!/usr/bin/env bash
# Installs this checkout on a machine and checks that JAX finds the accelerator.
#   bash launch/bootstrap.sh tpu|cuda|cpu
# It installs the versions of launch/constraints.txt, so that all machines and later replacements are
# identical. CERVIX_PYTHON sets the Python version; default 3.13.
set -euo pipefail
cd "$(dirname "$0")/.."

accelerator=${1:-tpu}
case "$accelerator" in
  tpu | cuda) package=".[$accelerator]" expected=$([ "$accelerator" = cuda ] && echo gpu || echo tpu) ;;
  cpu) package="." expected=cpu ;;
  *) echo "error: accelerator '$accelerator' is unknown; give tpu, cuda or cpu." >&2; exit 2 ;;
esac

# The TPU images have Python 3.10, which is too old for JAX; uv installs a newer one.
export PATH="$HOME/.local/bin:$PATH"
if ! command -v uv >/dev/null; then
  python3 -m pip install --quiet --user uv
fi
uv venv --quiet --allow-existing --python "${CERVIX_PYTHON:-3.13}" .venv
uv pip install --quiet --python .venv/bin/python --constraint launch/constraints.txt \
  --editable "$package"

# A slice of several machines provides its devices only if all machines request them.
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
    sys.exit(f"error: JAX runs on {devices[0].platform}, not on {sys.argv[1]}; check that the "
             "runtime version matches this type and that no other process uses the accelerator.")
PYTHON
