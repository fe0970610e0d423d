"""`model.init_from`: files of weights that are damaged, hostile or another model's."""

import contextlib
import io
import json
import os
import pickle
import struct
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from bad_case import Case
from bad_files import write

ARRAYS = {"conv1.weight": np.ones((8, 3, 5, 5), np.float32)}


def _weights(id_: str, name: str, content, *expected: str) -> Case:
    """`main` that starts from a file; `content` is its bytes, or a function that writes it."""

    def make(tmp: Path):
        if callable(content):
            content(tmp / name)
        elif content is not None:
            write(tmp / name, content)

    args = (
        "--config={root}/tests/small.py:{data}",
        "--workdir={tmp}/new",
        f"--config.model.init_from={{tmp}}/{name}",
    )
    return Case(id_, "main", args, (f"{{tmp}}/{name}", *expected), make)


def _source(id_: str, source: str, *expected: str, **fields) -> Case:
    args = (
        "--config={root}/tests/small.py:{data}",
        "--workdir={tmp}/new",
        f"--config.model.init_from={source}",
    )
    return Case(id_, "main", args, expected or (source,), **fields)


class _Code:
    """On unpickling it would call what it likes."""

    def __reduce__(self):
        return os.mkdir, ("harm",)


def hostile(protocol: int) -> bytes:
    """A pickle that makes a folder when it is loaded."""
    return pickle.dumps({"state_dict": {"w": _Code()}}, protocol)


def pth(pickled: bytes, **members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("model/data.pkl", pickled)
        for name, data in members.items():
            archive.writestr(f"model/data/{name}", data)
    return buffer.getvalue()


def npz(**arrays) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def _npz_that_claims(count: int) -> bytes:
    """An .npz whose array says that it is of that size."""
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        head, {"descr": "<f4", "fortran_order": False, "shape": (count,)}
    )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("w.npy", head.getvalue() + bytes(64))
    return buffer.getvalue()


def _bomb(size: int) -> bytes:
    """An .npz that says that it unpacks to that size."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w.npy", bytes(1000))
        archive.infolist()[0].file_size = size
    return buffer.getvalue()


def safetensors(header: dict | bytes, data: bytes = bytes(16), length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(shape, offsets) -> dict:
    return {"w": {"dtype": "F32", "shape": shape, "data_offsets": offsets}}


@contextlib.contextmanager
def _offline():
    """The hub cannot be reached, and nothing of it was downloaded before."""
    with tempfile.TemporaryDirectory() as empty, pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        patch.setattr("huggingface_hub.constants.HF_HUB_CACHE", empty)
        yield


CASES = [
    _source(
        "weights of the hub, offline",
        "hf:nobody/nothing",
        "hf:nobody/nothing",
        "the connection",
        around=_offline,
    ),
    _weights("weights that are absent", "w.pth", None, "no such file"),
    _weights("weights that are a folder", "w.pth", lambda path: path.mkdir(), "config.json"),
    _weights("weights that are a pipe", "w.pth", os.mkfifo, "no such file"),
    _weights("weights of a kind that is not read", "w.h5", b"x", ".safetensors"),
    _weights("an empty .pth", "w.pth", b"", "is damaged"),
    _weights(
        "a .pth that is text", "w.pth", b"version https://git-lfs.github.com/spec/v1\n", "w.pth"
    ),
    _weights("a .pth that is a cut zip", "w.pth", pth(pickle.dumps({}, 2))[:-30], "is damaged"),
    _weights("a .pth with code", "w.pth", pth(hostile(2)), "refused", "mkdir"),
    _weights("a .pth with code in the old format", "w.pth", hostile(2), "refused", "mkdir"),
    _weights("a .pth with nested lists", "w.pth", pth(b"(" * 10**5 + b"l" * 10**5 + b"."), "w.pth"),
    _weights(
        "a .pth that makes its reader search",
        "w.pth",
        pth(b"N" * 300_000 + b"(t" * 30_000 + b"."),
        "w.pth",
    ),
    _weights(
        "a .pth with a text of 16 exabytes",
        "w.pth",
        pth(b"\x8d" + b"\xff" * 7 + b"\x0f."),
        "is damaged",
    ),
    _weights(
        "a .pth in the old format with a text of a terabyte",
        "w.pth",
        b"\x8d" + struct.pack("<Q", 2**40) + b".",
        "is damaged",
    ),
    _weights(
        "a .pth without weights", "w.pth", pth(pickle.dumps({"epoch": 3}, 2)), "no state dict"
    ),
    _weights(
        "weights of another network",
        "w.npz",
        npz(**{"features.0.weight": ARRAYS["conv1.weight"]}),
        "conv1",
    ),
    _weights(
        "weights of another shape",
        "w.npz",
        npz(**{"conv1.weight": np.ones((8, 1, 5, 5), np.float32)}),
        "w.npz",
    ),
    _weights("weights without most keys", "w.npz", npz(**ARRAYS), "conv2"),
    _weights(
        "an .npz with objects",
        "w.npz",
        lambda path: np.savez(path, w=np.array([_Code()], object)),
        "plain arrays",
    ),
    _weights("an .npz that is cut", "w.npz", npz(**ARRAYS)[:-40], "is damaged"),
    _weights("an .npz that claims a terabyte", "w.npz", _npz_that_claims(2**38), "w.npz"),
    _weights("an .npz that unpacks to gigabytes", "w.npz", _bomb(2**40), "w.npz", "unpack"),
    _weights(
        "an .npz with deep names", "w.npz", npz(**{"module." * 9000 + "w": np.ones(1)}), "w.npz"
    ),
    _weights(
        "a .safetensors that is cut",
        "w.safetensors",
        safetensors(tensor([4], [0, 16]))[:-4],
        "is damaged",
    ),
    _weights(
        "a .safetensors whose head lies about its length",
        "w.safetensors",
        safetensors(b"{}", length=2**62),
        "is damaged",
    ),
    _weights(
        "a .safetensors whose head lies about a shape",
        "w.safetensors",
        safetensors(tensor([2**40], [0, 16])),
        "is damaged",
    ),
    _weights(
        "a .safetensors whose head lies about a place",
        "w.safetensors",
        safetensors(tensor([4], [16, 32])),
        "is damaged",
    ),
    _weights(
        "a .safetensors with a head that is no JSON",
        "w.safetensors",
        safetensors(b"{{{{"),
        "is damaged",
    ),
    _source("a package that is none", "package:os", "package:os"),
    _source("weights of a user who is not there", "~nobody_of_this_name/w.pth", "no such user"),
    _source("weights with a name too long", "x" * 300 + ".pth", "File name too long"),
]
