"""Files of `torch.save` without PyTorch: the zip format and the older stream format."""

import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from cervix_jax.errors import InputError
from cervix_jax.models.weights.torch_pickle import Storage, TensorView, interpret

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C  # first object of the stream format
Data = Callable[[Storage], bytes | memoryview]


def read_torch_file(path: Path | str) -> Any:
    """Read a file of `torch.save`; no code in it is executed (see `torch_pickle`).

    Args:
      path: the file.

    Returns:
      The saved value: dicts, lists, tuples, strings and numbers; a tensor that is the value of a
      dict, at any depth, becomes a read-only array in the tensor's own axis order.

    Raises:
      InputError: it is not such a file, it is damaged, or it requires objects other than tensors
        and containers.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            if zipfile.is_zipfile(file):
                return _read_zip(path)
            file.seek(0)
            return _read_stream(file)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror or error}); check the path."
        ) from error
    except Exception as error:  # Damaged files raise many types.
        raise InputError(
            f"{path}: is damaged or was not written by torch.save "
            f"({error or type(error).__name__}); download or copy it again."
        ) from error


def _read_zip(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        index = next((name for name in names if name.split("/")[1:] == ["data.pkl"]), None)
        if index is None:
            raise ValueError("a zip file without data.pkl")
        if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
            raise ValueError("compressed, which torch.save never does")
        root = index.removesuffix("data.pkl")
        if f"{root}byteorder" in names and archive.read(f"{root}byteorder") != b"little":
            raise ValueError("big-endian numbers")
        with archive.open(index) as file:
            tree = interpret(file)
        held: dict[str, bytes] = {}

        def data(storage: Storage) -> bytes:
            if storage.key not in held:
                held[storage.key] = archive.read(f"{root}data/{storage.key}")
            return held[storage.key]

        return _with_arrays(tree, data, {})


def _read_stream(file: BinaryIO) -> Any:
    if interpret(file) != MAGIC_NUMBER:
        raise ValueError("wrong file header")
    interpret(file)  # version of the protocol
    system = interpret(file)
    if not (isinstance(system, dict) and system.get("little_endian", True)):
        raise ValueError("big-endian numbers")
    storages: dict[str, Storage] = {}
    tree, keys = interpret(file, storages), interpret(file)
    rest = memoryview(file.read())
    held: dict[str, memoryview] = {}
    position = 0
    for key in keys:
        (count,) = struct.unpack_from("<q", rest, position)
        end = position + 8 + count * storages[key].dtype.itemsize
        if count < 0 or end > len(rest):
            raise ValueError("the file is truncated")
        held[key], position = rest[position + 8 : end], end
    return _with_arrays(tree, lambda storage: held[storage.key], {})


def _with_arrays(tree: Any, data: Data, done: dict[int, Any]) -> Any:
    """Return `tree` with arrays for tensors; shared objects are converted once, cycles rejected."""
    if not isinstance(tree, dict | TensorView):
        return tree
    if id(tree) not in done:
        if isinstance(tree, dict):
            done[id(tree)] = None
            new: dict | np.ndarray = {k: _with_arrays(v, data, done) for k, v in tree.items()}
        else:
            new = tree.read(data(tree.storage))
        done[id(tree)] = new
    if done[id(tree)] is None:
        raise ValueError("a dict that contains itself")
    return done[id(tree)]
