import json
import os
import shutil
import stat
import sys

import numpy as np
import pytest

from cervix_jax import load_run
from cervix_jax.errors import InputError
from cervix_jax.export import folder as export_folder
from cervix_jax.export.folder import export_run, load_exported

pytestmark = pytest.mark.slow  # a program for three platforms is traced and compiled

FILES = ["README.md", "card.json", "model.stablehlo", "weights.safetensors"]


@pytest.fixture(scope="module")
def run(trained):
    return load_run(trained[0])


def images(count: int, side: int = 32) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, side, side, 3), np.uint8)


def test_the_files_and_nothing_else(exported):
    assert sorted(os.listdir(exported)) == FILES
    assert os.listdir(exported.parent) == [exported.name]


def test_probabilities_are_those_of_the_run(exported, run):
    model = load_exported(exported)
    expected = run.predict(images(17))
    for count in (1, 3, 17):
        np.testing.assert_allclose(model.predict(images(17)[:count]), expected[:count], atol=1e-5)
    assert model.card["check"]["largest_difference"] <= 1e-5
    assert model.card["check"]["backend"] == "cpu"


def test_images_of_another_kind_are_bad_input(exported):
    model = load_exported(exported)
    for wrong in (images(2, 16), images(2).astype(np.float32), images(1)[0], images(1)[:0]):
        with pytest.raises(InputError, match="this program takes uint8 images"):
            model.predict(wrong)


@pytest.mark.parametrize("name", FILES[1:])
def test_missing_files_have_one_line(copy, name):
    (copy / name).unlink()
    with pytest.raises(InputError, match=rf"{name}: cannot be read \(No such file"):
        load_exported(copy)


@pytest.mark.parametrize("name", ["model.stablehlo", "weights.safetensors"])
def test_changed_files_have_one_line(copy, name):
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(InputError, match=f"{name}: is not the exported file"):
        load_exported(copy)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "cervix_jax export 0"}'])
def test_other_cards_have_one_line(copy, text):
    (copy / "card.json").write_text(text)
    with pytest.raises(InputError, match="is not the card of an export"):
        load_exported(copy)


def test_a_card_cannot_name_other_files(copy):
    card = json.loads((copy / "card.json").read_text())
    card["sha256"] = {"../../secret": "0"}
    (copy / "card.json").write_text(json.dumps(card))
    with pytest.raises(InputError, match="has no checksums"):
        load_exported(copy)


def test_a_program_that_jax_cannot_read(copy):
    (copy / "model.stablehlo").write_bytes(b"from another time")
    card = json.loads((copy / "card.json").read_text())
    card["sha256"]["model.stablehlo"] = export_folder._sha256(copy / "model.stablehlo")
    (copy / "card.json").write_text(json.dumps(card))
    with pytest.raises(InputError, match=r"jax .* cannot read it"):
        load_exported(copy)


def test_what_is_there_is_kept(exported, run):
    before = (exported / "card.json").read_bytes()
    with pytest.raises(InputError, match="exists already"):
        export_run(run, exported)
    assert (exported / "card.json").read_bytes() == before
    assert sorted(os.listdir(exported)) == FILES


def test_a_program_that_differs_is_not_written(two_forms, tmp_path, monkeypatch):
    true_trace = export_folder.trace

    def trace_another(run):
        run.config.model.normalization = "none"
        program = true_trace(run)
        run.config.model.normalization = "imagenet"
        return program

    monkeypatch.setattr(export_folder, "trace", trace_another)
    with pytest.raises(RuntimeError, match="differs from the run by"):
        export_run(two_forms, tmp_path / "out")
    assert not os.listdir(tmp_path)


@pytest.mark.slow
def test_a_reference_stain_is_inside_the_program(two_forms, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    plain = two_forms.predict(images)
    two_forms.config.model.normalization = "imagenet+reinhard"
    try:
        export_run(two_forms, tmp_path / "out")  # compares the program with the run
        matched = two_forms.predict(images)
    finally:
        two_forms.config.model.normalization = "imagenet"
    assert np.abs(matched - plain).max() > 1e-3
    found = load_exported(tmp_path / "out").predict(images)
    np.testing.assert_allclose(found, matched, atol=1e-5)


@pytest.mark.parametrize("package", ["flatbuffers", "safetensors.numpy"])
def test_missing_packages_have_one_line(two_forms, tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    for call in (lambda: export_run(two_forms, tmp_path / "out"), lambda: load_exported(tmp_path)):
        with pytest.raises(InputError, match=rf"needs the package {package}.*pip install"):
            call()
    assert not os.listdir(tmp_path)


def test_everyone_may_read_it(exported):
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(exported.stat().st_mode) == 0o777 & ~umask
    for name in FILES:
        assert stat.S_IMODE((exported / name).stat().st_mode) == 0o666 & ~umask


def test_the_command_says_what_is_missing(export_command, trained, tmp_path):
    for given in ({"workdir": trained[0]}, {"out": tmp_path / "out"}):
        with pytest.raises(InputError, match="is missing; give --workdir=<run> and --out="):
            export_command(**given)
    with pytest.raises(InputError, match="not the folder of a run"):
        export_command(workdir=tmp_path, out=tmp_path / "out")
    assert not os.listdir(tmp_path)


def test_a_step_without_evaluation(export_command, trained, tmp_path, capsys):
    folder = shutil.copytree(trained[0], tmp_path / "run")
    (folder / "evaluate" / "test.json").unlink()
    export_command(workdir=folder, out=tmp_path / "out", step="latest")
    said = capsys.readouterr().out
    assert "step 9 has no test evaluation" in said
    assert f"exported tiny, step 9, to {tmp_path / 'out'}" in said
    assert json.loads((tmp_path / "out" / "card.json").read_text())["evaluation"] is None
    assert "were not evaluated on test images" in (tmp_path / "out" / "README.md").read_text()
