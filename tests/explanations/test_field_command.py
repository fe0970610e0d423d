"""`explain --cells` and `--fields`: what is written, and requests that are refused."""

import csv
import json

import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver
from linear_run import seeing
from PIL import Image

from cervix_jax import load_run
from cervix_jax.data import catalog
from cervix_jax.errors import InputError
from cervix_jax.explain import __main__ as command
from cervix_jax.explanations import field_workflow
from cervix_jax.explanations.explainer import MapSettings
from cervix_jax.explanations.field_workflow import FieldOptions, explain_fields
from cervix_jax.files import images


def write_cells(path, image, positions, probabilities, class_names):
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "cell", "x", "y", "nucleus", "class",
                       *(f"p_{name}" for name in class_names)])  # fmt: skip
        for number, (place, p) in enumerate(zip(positions, probabilities, strict=True), 1):
            rows.writerow([image, number, *place, 0.9, class_names[int(np.argmax(p))], *p])
    return path


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """A field, a table of three cells in it, and a run whose network sees one pixel of a square."""
    monkeypatch.setattr(field_workflow, "as_classifier", lambda run: run)
    run = seeing((4, 4))
    run.config.update({"model": {"name": "linear"}})
    run.step, run.workdir, run.weights_digest = 7, None, lambda: "0" * 64
    pixels = np.random.default_rng(0).integers(0, 255, (30, 40, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "field.png")
    positions, sure = [(10, 12), (30, 20), (1, 29)], [(0.6, 0.4), (0.1, 0.9), (0.7, 0.3)]
    table = write_cells(
        tmp_path / "cells.csv", tmp_path / "field.png", positions, sure, run.class_names
    )
    return run, table, pixels


def explained(drawn, tmp_path, **options):
    run, table, _ = drawn
    settings = MapSettings(batch_size=2)
    options = FieldOptions(
        **{"methods": ("input_x_gradient",), "mpp": 0.5, "settings": settings} | options
    )
    return explain_fields(run, table, options=options, out=tmp_path / "out")


def test_a_field_and_its_cells(drawn, tmp_path):
    report = explained(drawn, tmp_path, class_name="abnormal")
    (field,) = report["fields"]
    assert (field["cells"], field["cells_in_map"], field["class"]) == (3, 3, "abnormal")
    found = field["methods"]["input_x_gradient"]
    assert found["explains"] == "input x gradient; sum over 3 cells of the logit of abnormal"
    # The third square begins at (-3, 25), and its pixel (4, 4) is the field's (1, 29).
    seen = [int(drawn[2][y, x].sum()) / 255 for x, y in ((10, 12), (30, 20), (1, 29))]
    assert found["sum_of_logits"] == pytest.approx(sum(seen), rel=1e-5)
    assert found["sum_of_map"] == pytest.approx(sum(seen), rel=1e-5)
    assert sorted(each["cell"] for each in found["chosen"]) == [1, 2, 3]
    by_number = {each["cell"]: each for each in found["chosen"]}
    assert by_number[2]["logit"] == pytest.approx(seen[1], rel=1e-5)
    assert by_number[2]["box"] == [26, 16, 34, 24]
    (folder,) = [path for path in (tmp_path / "out").iterdir() if path.is_dir()]
    names = {path.name for path in folder.iterdir()}
    assert names == {f"input_x_gradient{end}" for end in
                     (".npz", "_cells.png", "_field.png", "_layer.png")}  # fmt: skip
    with Image.open(folder / "input_x_gradient_layer.png") as layer:
        assert (layer.size, layer.mode) == ((40, 30), "RGBA")
    stored = json.loads((tmp_path / "out" / "field_explanations.json").read_text("utf-8"))
    assert stored == {key: value for key, value in report.items() if key != "folder"}


def test_cells_by_number_and_a_map_of_the_most_suspicious(drawn, tmp_path):
    report = explained(drawn, tmp_path, numbers=(3, 1), field_cells=2, class_name="abnormal")
    (field,) = report["fields"]
    chosen = field["methods"]["input_x_gradient"]["chosen"]
    assert [each["cell"] for each in chosen] == [3, 1]
    assert field["cells_in_map"] == 2
    x, y = (10, 30), (12, 20)  # cells 1 and 2, the more probable ones of the class
    seen = sum(int(drawn[2][b, a].sum()) / 255 for a, b in zip(x, y, strict=True))
    assert field["methods"]["input_x_gradient"]["sum_of_map"] == pytest.approx(seen, rel=1e-5)
    with np.load(next((tmp_path / "out").glob("*/*.npz"))) as file:
        assert file["cells"].tolist() == [3, 1]
        assert file["maps"].shape == (2, 8, 8, 3)
        assert file["boxes"].tolist() == [[-3, 25, 5, 33], [6, 8, 14, 16]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"numbers": (1, 9)}, "--cell=9: .*no such cell"),
        ({"class_name": "LSIL"}, "--class=LSIL is not a class of the run; .* normal, abnormal"),
        ({"mpp": None}, "field.png: .*--mpp"),
        ({"methods": ("gradcam",)}, "--method='gradcam'"),
        ({"crop": -1}, "--crop=-1"),
    ],
)
def test_bad_requests_are_refused(drawn, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        explained(drawn, tmp_path, **options)
    assert not (tmp_path / "out").exists()


def test_a_table_of_another_image_is_refused(drawn, tmp_path):
    Image.fromarray(drawn[2][:20, :20]).save(tmp_path / "field.png")
    with pytest.raises(InputError, match=r"cell 2 at .30, 20. lies outside of .*field.png, 20 x"):
        explained(drawn, tmp_path)


def test_numbers_of_two_fields_are_refused(drawn, tmp_path):
    text = drawn[1].read_text("utf-8")
    rows = text.splitlines(keepends=True)
    drawn[1].write_text(text + "".join(rows[1:]).replace("field.png", "other.png"), "utf-8")
    with pytest.raises(InputError, match=r"--cell: .* cells of 2 fields.*--slide"):
        explained(drawn, tmp_path, numbers=(1,))


def test_a_table_of_other_squares_is_noticed(drawn, tmp_path, caplog):
    explained(drawn, tmp_path)
    assert "from those in the table" in caplog.text


def test_numbers_are_read_from_a_list():
    assert command.read_numbers(" 12, 57,12") == (12, 57)
    assert command.read_numbers("") == ()
    for text in ("0", "a", "1,-2", "1.5", "²"):
        with pytest.raises(InputError, match="is not a cell number"):
            command.read_numbers(text)


@pytest.fixture
def call():
    before = set(flags.FLAGS)
    command.define_flags()

    def run(workdir, **values):
        with flagsaver.flagsaver(**{"workdir": str(workdir), "batch_size": 8} | values):
            command.main(["explain"])

    yield run
    for name in set(flags.FLAGS) - before:
        delattr(flags.FLAGS, name)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"cells": "a.csv", "fields": "cric/field"}, "--cells and --fields cannot be combined"),
        ({"cells": "a.csv", "method": "all"}, "name the methods, separated by commas"),
        ({"cells": "a.csv", "method": "salienc"}, "--method=salienc: salienc is not a method"),
        ({"cell": "3"}, "--cell requires --cells;"),
        ({"crop": 90.0}, "--crop requires --cells or --fields;"),
    ],
)
def test_flags_that_exclude_each_other(call, tmp_path, values, message):
    with pytest.raises(InputError, match=message):
        call(tmp_path, **values)


@pytest.mark.slow  # trains a run
def test_phantom_fields_end_to_end(trained, call, tmp_path, capsys):
    run = load_run(trained[0])
    data_dir, small = run.config.data.data_dir, ["clusters_per_class=1"]
    with pytest.raises(InputError, match="--crop is missing"):
        call(trained[0], fields="cervix_phantom/multi_cell", setting=small, max_fields=1,
             method="saliency", out=str(tmp_path / "no"))  # fmt: skip
    shared = {"crop": 64.0, "method": "saliency,integrated_gradients", "steps": 4}
    for detector in ("known", "blobs"):
        call(trained[0], fields="cervix_phantom/multi_cell", setting=small, data_dir=data_dir,
             max_fields=2, detector=detector, out=str(tmp_path / detector), **shared)  # fmt: skip
        assert "Cells" in capsys.readouterr().out
        report = json.loads((tmp_path / detector / "field_shares.json").read_text("utf-8"))
        for found in report["methods"].values():
            measured = found["measures"]
            fields = 2 - report["fields_without_cells"]
            assert measured["field_mass_nuclei"]["n"] == fields
            if detector == "known":  # blobs finds few nuclei of the phantom
                assert fields == measured["mass_nucleus"]["groups"] == 2
                own, every = (measured[f"mass_{name}"]["chance"] for name in ("nucleus", "nuclei"))
                assert 0 < own < every < 1
                assert measured["mass_nucleus"]["undefined"] <= 1  # a centre beside a bent nucleus
    dataset = catalog.load("cervix_phantom/multi_cell", data_dir=data_dir,
                           settings={"clusters_per_class": 1})  # fmt: skip
    image = images.rgb(images.decode(dataset.encoded_image(0), "a field"))
    image.save(tmp_path / "field.png")
    places = [(60, 60), (200, 150), (340, 250)]
    squares = [np.asarray(image.crop((x - 32, y - 32, x + 32, y + 32))) for x, y in places]
    sure = run.predict(squares)
    table = write_cells(
        tmp_path / "cells.csv", tmp_path / "field.png", places, sure, run.class_names
    )
    call(trained[0], cells=str(table), cell="3,1", out=str(tmp_path / "cells"), **shared)
    report = json.loads((tmp_path / "cells" / "field_explanations.json").read_text("utf-8"))
    found = report["fields"][0]["methods"]["integrated_gradients"]
    assert [each["cell"] for each in found["chosen"]] == [3, 1]
    assert len(list((tmp_path / "cells").glob("*/*.png"))) == 6
