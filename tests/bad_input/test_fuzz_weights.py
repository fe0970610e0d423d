"""Damaged and hostile files of weights give arrays or one line, and never run what they hold."""

import contextlib
import io
import pickle
import struct
import sys

import numpy as np
import pytest
from bad_weights import hostile, npz, pth, safetensors, tensor
from hypothesis import given, settings
from hypothesis import strategies as st
from mutations import attempt, bounded, mutated

from cervix_jax.models.weights.read import read_state_dict
from cervix_jax.models.weights.torch_pickle import interpret

pytestmark = pytest.mark.slow
WATCHED = ("pickle.find_class", "os.system", "subprocess.Popen", "os.exec", "os.posix_spawn")
ran: list[str] = []
watching = False


def _watch(event: str, arguments: tuple) -> None:
    harm = event == "os.mkdir" and "harm" in str(arguments[0])
    if watching and (event in WATCHED or harm):
        ran.append(f"{event} {arguments}")


sys.addaudithook(_watch)  # stays for the process; it only looks while `watching`


@pytest.fixture(autouse=True)
def nothing_runs():
    global watching
    ran.clear()
    watching = True
    yield
    watching = False
    assert not ran


def _pickle(*, key: bytes = b"0", count: int = 6) -> bytes:
    """What torch.save writes for {"w": tensor of [2, 3]}, in the opcodes of protocol 2."""
    storage = (
        b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\0" + key + b"X\x03\0\0\0cpuK"
        + bytes([count]) + b"tQ"
    )  # fmt: skip
    arguments = (
        b"(" + storage + b"K\x00K\x02K\x03\x86K\x03K\x01\x86\x89ccollections\nOrderedDict\n)Rt"
    )
    return b"\x80\x02}q\0X\x01\0\0\0wctorch._utils\n_rebuild_tensor_v2\n" + arguments + b"Rs."


DATA = np.arange(6, dtype="<f4")
STREAM = b"".join(
    (
        pickle.dumps(0x1950A86A20F9469CFC6C, 2), pickle.dumps(1001, 2),
        pickle.dumps({"little_endian": True}, 2), _pickle(), pickle.dumps(["0"], 2),
        struct.pack("<q", 6), DATA.tobytes(),
    )
)  # fmt: skip
ORIGINALS = {
    "w.pth": [pth(_pickle(), **{"0": DATA.tobytes()}), pth(hostile(2)), pth(hostile(4))],
    "w.pt": [STREAM, hostile(0), hostile(2), hostile(4)],
    "w.npz": [npz(w=DATA.reshape(2, 3)), npz(a=np.ones(2), b=np.zeros((1, 2), np.int8))],
    "w.safetensors": [safetensors(tensor([4], [0, 16])), safetensors(tensor([2, 2], [0, 16]))],
}
GOOD = {"w.pth": 0, "w.pt": 0, "w.npz": 0, "w.safetensors": 0}


@pytest.mark.parametrize("name", GOOD)
def test_the_originals_are_good(name, tmp_path):
    (tmp_path / name).write_bytes(ORIGINALS[name][GOOD[name]])
    assert read_state_dict(tmp_path / name)["w"].size


@pytest.mark.filterwarnings("ignore::UserWarning")  # of zipfile, about names that occur twice
@pytest.mark.parametrize("name", ORIGINALS)
def test_damaged_files(name, tmp_path):
    path = tmp_path / name

    @settings(max_examples=250)
    @given(data=mutated(ORIGINALS[name]))
    def check(data):
        path.write_bytes(data)
        arrays, why = attempt(lambda: read_state_dict(path))
        if arrays is None:
            assert why.startswith(f"{path}: ")
            assert "\n" not in why
            return
        for key, array in arrays.items():
            assert isinstance(key, str)
            assert array.dtype != object

    check()


NAMES = (
    b"os\nsystem\n",
    b"builtins\neval\n",
    b"torch._utils\n_rebuild_tensor_v2\n",
    b"torch\nSize\n",
    b"torch\nFloatStorage\n",
    b"collections\nOrderedDict\n",
)
SINGLE = b"(.012QRabdetu}]l)sNo\x81\x85\x86\x87\x88\x89\x93\x94"
LONGER = (
    *(code + name for name in NAMES for code in (b"c", b"i")),
    b"\x8a\x01\x05",
    b"\x8b\xff\xff\xff\x7f",
    b"X\xff\xff\xff\xff",
    b"\x8c\x02os",
    b"\x8c\x06system",
    b"P0\n",
    b"\x82\x01",
    b"\x95" + bytes(8),
    b"G" + bytes(8),
)
OPCODES = st.one_of(
    st.sampled_from([bytes([code]) for code in SINGLE]),
    st.sampled_from(LONGER),
    st.integers(0, 255).map(lambda value: b"K" + bytes([value])),
    st.tuples(st.sampled_from(b"qh"), st.integers(0, 3)).map(bytes),
    st.binary(max_size=5).map(lambda text: b"X" + struct.pack("<I", len(text)) + text),
)
# What `read_torch_file` turns into one line.
DAMAGE = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, MemoryError)


@settings(max_examples=400)
@given(st.lists(OPCODES, max_size=25).map(b"".join))
def test_any_sequence_of_opcodes(program):
    """The machine builds something or fails with a plain error; it runs nothing."""
    with bounded(), contextlib.suppress(*DAMAGE):
        interpret(io.BytesIO(program + b"."))
