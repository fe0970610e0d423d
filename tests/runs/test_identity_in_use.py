"""Every workflow of a run holds the data of today against the images that the run was made with."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from own_images import Trained, draw, draw_class
from small import get_config

from cervix_jax import load_run
from cervix_jax.audit.model import audit_run
from cervix_jax.data import catalog
from cervix_jax.errors import InputError
from cervix_jax.evaluate.workflow import evaluate_run
from cervix_jax.explain.__main__ import _other_dataset
from cervix_jax.explanations.workflow import explain_run
from cervix_jax.runs import own_data
from cervix_jax.training.run import train_and_evaluate


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """Images, and a run on them."""
    images = Trained(tmp_path_factory.mktemp("original"))
    config, small = images.config, get_config()
    config.model.update(small.model)
    config.update({"batch_size": 8, "eval_batch_size": 8, "num_epochs": 2})
    train_and_evaluate(config, images.root / "run")
    return images


@pytest.fixture
def images(original, tmp_path):
    """A copy, to be changed, which is prepared anew when it is opened next."""
    copy = original.copy(tmp_path / "copy")
    shutil.rmtree(copy.root / "prepared")
    own_data.say_once.cache_clear()
    return copy


@pytest.fixture
def run(images):
    return load_run(images.root / "run")


def explain(run, folder, **options):
    quick = {"methods": ["saliency"], "images": 4, "sheet_images": 0, "figure_images": 0}
    return explain_run(run, effort=None, out=folder, **quick | options)


def place(images):
    return {"manual_dir": str(images.cells), "data_dir": str(images.root / "prepared")}


def test_a_checkpoint_knows_its_examples(original):
    run = load_run(original.root / "run")
    assert run.identity is not None
    assert run.identity.to_json() == original.identity.to_json()
    assert run.dataset["examples"] == original.identity.counts()
    assert run.dataset == json.loads((original.root / "run/env.json").read_text())["dataset"]
    fingerprints = run.fingerprints()
    assert fingerprints is not None
    assert fingerprints.digests == original.identity.digests
    np.testing.assert_array_equal(
        fingerprints.thumbnails, original.then.dataset.fingerprints().thumbnails
    )


def test_fingerprints_of_other_images_are_not_taken(images, run):
    path = images.root / "run/fingerprints.npz"
    kept = run.fingerprints()
    kept.take(np.arange(5)).save(path)
    assert run.fingerprints() is None
    path.unlink()
    assert run.fingerprints() is None
    path.write_bytes(b"PK")
    with pytest.raises(InputError, match=r"fingerprints\.npz: is damaged"):
        run.fingerprints()


def test_evaluation_after_images_were_added_is_that_of_before(images, run):
    """An issue of the past: 45 % of the test images had been trained on, and 0 % were reported."""
    before = json.loads((images.root / "run/evaluate/test.json").read_text())
    draw_class(images.cells / "HSIL", 800, 9)
    draw_class(images.cells / "NILM", 900, 9)
    report = evaluate_run(run, "test", **place(images))
    assert {key: report[key] for key in before} == before
    names = (images.root / "run/evaluate/test_predictions.csv").read_text()
    assert "p9" not in names


def test_classes_under_other_names_give_the_same_accuracy(images, run):
    """With them by position the accuracy was 0."""
    before = json.loads((images.root / "run/evaluate/test.json").read_text())
    (images.cells / "HSIL").rename(images.cells / "Severe")  # after NILM
    with pytest.raises(InputError, match="--class_map=HSIL=Severe"):
        evaluate_run(run, "test", **place(images))
    report = evaluate_run(run, "test", class_map={"HSIL": "Severe"}, **place(images))
    assert report["confusion_matrix"] == before["confusion_matrix"]
    assert report["metrics"]["nll"] == before["metrics"]["nll"]


WORK = {
    "evaluate": lambda run, images: evaluate_run(run, "test", **place(images)),
    "explain": lambda run, images: explain(run, None, **place(images)),
    "audit": lambda run, images: audit_run(run, run.open_data(**place(images)), progress=False),
    "train": lambda run, images: train_and_evaluate(images.config, run.workdir),
}


@pytest.mark.parametrize("work", list(WORK))
def test_replaced_images_are_refused_and_nothing_is_lost(images, run, work):
    def content():
        return {p: p.read_bytes() for p in run.workdir.rglob("*") if p.is_file()}

    draw(images.cells / "NILM/p30/00.png", 7)
    before = content()
    with pytest.raises(
        InputError, match=r"1 have the same name but different pixels .*NILM/p30/00\.png"
    ):
        WORK[work](run, images)
    assert content() == before


def test_a_finished_run_is_evaluated_again_in_another_order(images):
    """Prepared data lie in another order where the folder is another."""
    before = json.loads((images.root / "run/evaluate/test.json").read_text())
    report = train_and_evaluate(images.config, images.root / "run")
    assert {key: report[key] for key in before} == before


@pytest.mark.slow
def test_a_stopped_run_ends_alike_after_its_images_were_moved(images, tmp_path):
    """Two epochs at once, and one after the other with the images under other names."""
    assert images.config.num_epochs == 2
    whole = load_run(images.root / "run", "latest").weights_digest()
    again = images.root / "again"
    train_and_evaluate(images.config, again)
    steps = sorted((again / "checkpoints").iterdir(), key=lambda path: int(path.name))
    shutil.rmtree(steps[-1])
    shutil.rmtree(images.root / "prepared")
    for path in sorted(images.cells.glob("*/p?0/*.png")):
        shutil.move(path, path.with_name(f"z{path.name}"))
    train_and_evaluate(images.config, again)
    run = load_run(again, "latest")
    assert run.weights_digest() == whole
    assert run.identity is not None
    assert run.identity.filenames == images.identity.filenames


def test_explanations_are_of_the_runs_own_images(images, run, tmp_path):
    draw_class(images.cells / "HSIL", 800, 9)
    report = explain(run, tmp_path / "out", **place(images))
    names = {image["filename"] for image in report["selection"]["images"]}
    assert names <= set(images.identity.filenames)
    assert report["selection"]["wrong"] is not None


def test_explain_knows_another_folder_from_its_own(images, run, tmp_path):
    """Both are called image_folder/default."""
    draw_class(tmp_path / "others/NILM", 500)
    draw_class(tmp_path / "others/LSIL", 600)
    given = {"dataset": "image_folder/default", "setting": [], "check_counts": True}
    asked = given | {"data_dir": str(tmp_path / "prepared")}

    def other(folder):
        return _other_dataset(SimpleNamespace(**asked, manual_dir=str(folder)), run)

    assert other(images.cells) is None
    found = other(tmp_path / "others")
    assert found is not None
    assert len(found) == 24
    asked["dataset"] = ""
    assert other(tmp_path / "others") is None


def test_another_data_set_is_explained_by_the_names_of_its_classes(images, run, tmp_path):
    others = tmp_path / "others"
    draw_class(others / "NILM", 500)
    draw_class(others / "LSIL", 600)

    def opened():
        return catalog.load(
            "image_folder/default", manual_dir=others, data_dir=tmp_path / "prepared"
        )

    report = explain(run, tmp_path / "out", dataset=opened(), target="label")
    targets = {i["filename"][:4]: i["target"] for i in report["selection"]["images"]}
    assert targets == {"NILM": "NILM", "LSIL": "LSIL"}
    # What is kept is not taken for maps of other images under the same names.
    first = report["selection"]["images"][0]["filename"]
    draw(others / first, 7)
    shutil.rmtree(tmp_path / "prepared")
    with pytest.raises(InputError, match="pixels is"):
        explain(run, tmp_path / "out", dataset=opened(), target="label")
