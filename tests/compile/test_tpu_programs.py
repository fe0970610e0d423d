"""The package's own programs, compiled for a TPU that is not there; skipped without libtpu."""

import gzip
import json
from types import SimpleNamespace

import pytest
from small import get_config

from cervix_jax.compile import __main__, devices
from cervix_jax.compile.hlo import Module
from cervix_jax.compile.workflow import compile_config
from cervix_jax.config.base import base_config
from cervix_jax.errors import InputError

BATCH = 64
ALL_REDUCES = 5

needs_libtpu = pytest.mark.skipif(devices.libtpu_version() is None, reason="no libtpu")


def config_of(name: str = "small"):
    config = get_config()
    config.model.name = name
    return config


@needs_libtpu
def test_a_training_step_meets_seldom_and_gathers_no_pixels():
    config = config_of()
    config.model.norm_groups = 4
    config.augment.rotation_degrees = 20.0  # so that there is a warp
    report = compile_config(config, "v5e:2x4", batch_size=BATCH, programs=["train"])
    found = report["programs"]["train"]
    assert found["memory"]["fits"]
    assert found["messages"]["all-reduce"]["count"] <= ALL_REDUCES
    assert set(found["messages"]) == {"all-reduce"}
    pixels = BATCH // 8 * config.image_size**2
    assert max(found["gathers"], default=0) < pixels, "a gather of pixels"
    cycles = found["cycles"]
    assert all(cycles[phase] for phase in ("augmentation", "forward", "backward", "optimiser"))
    assert found["largest_batch"]["images"] > BATCH
    assert found["weak_scaling"]["v5e:2x4"]["efficiency"] == 1
    json.dumps(report, allow_nan=False)


@needs_libtpu
def test_evaluation_and_the_exported_program_compile_for_a_tpu():
    pytest.importorskip("flatbuffers")
    report = compile_config(
        config_of(), "v6e:2x2", batch_size=8, programs=["evaluate", "predict", "export"]
    )
    found = report["programs"]
    assert found["predict"]["same_as"] == "evaluate"
    assert (found["export"]["chips"], found["export"]["images"]) == (1, 2)
    for name in ("evaluate", "export"):
        cycles = found[name]["cycles"]
        assert cycles["forward"] == sum(cycles.values()) > 0


@needs_libtpu
def test_integrated_gradients_compile_for_a_tpu(tmp_path):
    report = compile_config(
        config_of(), "v5e:2x2", batch_size=16, programs=["integrated_gradients"], texts=tmp_path
    )
    found = report["programs"]["integrated_gradients"]
    assert (found["chips"], found["images"]) == (1, 4)
    assert found["cycles"]["backward"] > 0
    (text,) = tmp_path.iterdir()
    assert text.name == "integrated_gradients.hlo.gz"
    compiled = gzip.decompress(text.read_bytes()).decode()
    assert Module(compiled, "forward").cycles() == found["cycles"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 12}, "--batch_size=12 is not divisible by the 8 chips of v5e:2x4; .* 8"),
        ({"programs": []}, "--programs=''"),
        ({"texts": __file__}, "--texts=.*test_tpu_programs.py: cannot be made"),
        ({"programs": ["trian"]}, "--programs='trian' .did you mean 'train'"),
        ({"largest": "exact"}, "--largest_batch='exact'"),
        ({"num_classes": -1}, "--num_classes=-1"),
    ],
)
def test_what_cannot_be_compiled_is_one_line(arguments, message):
    with pytest.raises(InputError, match=message):
        compile_config(config_of(), "v5e:2x4", **arguments)


class Flags(SimpleNamespace):
    """Flags as a command line gives them."""

    def __getitem__(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(config_filename=f"{name}.py")


def test_a_file_that_cannot_be_written_is_refused_before_anything_is_compiled(monkeypatch):
    compiled = []
    monkeypatch.setattr(__main__, "compile_config", lambda *_, **__: compiled.append(1))
    monkeypatch.setattr(__main__, "use_cpu", lambda: None)
    given = Flags(config=config_of(), out=f"{__file__}/found.json")
    monkeypatch.setattr(__main__, "flags", SimpleNamespace(FLAGS=given))
    with pytest.raises(InputError, match=r"found\.json: cannot be written"):
        __main__.main([])
    assert not compiled


def test_without_the_compiler_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(devices, "libtpu_version", lambda: None)
    with pytest.raises(InputError, match=r"run pip install 'cervix_jax\[tpu\]'"):
        compile_config(config_of(), "v5e:2x4", batch_size=BATCH)


@needs_libtpu
def test_own_classes_are_asked_for():
    config = base_config("image_folder/cells")
    config.model.name = "resnet50"
    with pytest.raises(InputError, match="give --num_classes"):
        compile_config(config, "v5e:2x4", batch_size=BATCH)
