import json

import numpy as np
import pytest
import yaml
from PIL import Image

from cervix_jax import load_run
from cervix_jax.data.decode import ONE_VIEW, decode_square
from cervix_jax.errors import InputError
from cervix_jax.evaluate.report_file import Metric
from cervix_jax.export.card import make_card
from cervix_jax.export.model_card import model_card

pytestmark = pytest.mark.slow  # a program for three platforms is traced and compiled


@pytest.fixture(scope="module")
def card(exported):
    return json.loads((exported / "card.json").read_text())


@pytest.fixture(scope="module")
def text(exported):
    return (exported / "README.md").read_text()


def front_matter(text: str) -> dict:
    empty, front, _ = text.split("---\n", 2)
    assert not empty
    return yaml.safe_load(front)


def test_the_card_says_how_to_call_the_program(card, trained):
    run = load_run(trained[0])
    assert tuple(card["class_names"]) == run.class_names
    assert (card["size"], card["resize"], card["dtype"]) == (32, "stretch", "float32")
    assert card["step"] == run.step
    assert card["data"] == run.dataset
    assert card["weights"] == sum(array.size for array in _leaves(run.variables))


def _leaves(tree):
    return (
        [leaf for part in tree.values() for leaf in _leaves(part)]
        if isinstance(tree, dict)
        else [tree]
    )


def test_metrics_are_those_of_the_evaluation(card, text, trained):
    report = trained[1]
    assert card["evaluation"]["metrics"] == report["metrics"]
    assert f"| accuracy | {Metric.of(report['metrics']['accuracy'])} |" in text
    assert f"{report['n']} test images from {report['groups']} groups" in text
    (result,) = front_matter(text)["model-index"][0]["results"]
    metrics = {each["name"]: each["value"] for each in result["metrics"]}
    assert metrics["accuracy"] == report["accuracy"]
    assert metrics["macro F1"] == pytest.approx(report["metrics"]["macro_f1"]["estimate"])
    for name, row in report["per_class"].items():
        sensitivity = Metric.of(row["sensitivity"])
        assert f"| {name} | {sensitivity.n} | {sensitivity}" in text


def test_protocol_leakage_and_warning_are_said(card, text):
    assert "Split protocol `cluster`, fold 0 of 4" in text
    assert f"Leakage: {card['data']['leakage']:.1%}** of the test images" in text
    assert text.count("Research use only; not for clinical use.") >= 2
    assert front_matter(text)["pipeline_tag"] == "image-classification"


def test_no_path_of_this_machine_is_in_any_file(exported, trained, prepared):
    for path in exported.iterdir():
        content = path.read_bytes()
        for place in (trained[0], prepared, exported):
            assert str(place).encode() not in content, path


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("resize", ONE_VIEW)
def test_the_code_in_the_model_card_runs(
    card, exported, trained, tmp_path, monkeypatch, capsys, resize, channels
):
    """On a photograph on its side, opaque or not, resized by each rule."""
    pixels = np.random.default_rng(0).integers(0, 256, (30, 50, channels), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "cell.png", exif=exif)
    for path in exported.iterdir():
        (tmp_path / path.name).symlink_to(path)
    card = card | {"resize": resize, "microns_per_pixel": 0.4, "field_of_view": 12.8}
    (tmp_path / "card.json").unlink()
    (tmp_path / "card.json").write_text(json.dumps(card))
    code = model_card(card).split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    printed = eval(capsys.readouterr().out)
    square = decode_square((tmp_path / "cell.png").read_bytes(), 32, resize, scale=0.25 / 0.4)
    expected = load_run(trained[0]).predict([square])[0]
    assert list(printed) == card["class_names"]
    np.testing.assert_allclose(list(printed.values()), expected, atol=1e-5)


def test_the_card_says_what_a_pixel_measures(card, text):
    assert card["data"]["microns_per_pixel"] == 0.35
    assert card["microns_per_pixel"] is card["field_of_view"] is None  # cells of many sizes
    assert "micrometres" not in text
    told = model_card(card | {"microns_per_pixel": 0.4, "field_of_view": 12.8})
    assert "alone, in squares of 12.8 micrometres (0.4 micrometres per pixel). Other" in told


def test_an_evaluation_of_other_weights_is_left_out(two_forms, trained, tmp_path):
    (tmp_path / "evaluate").mkdir()
    (tmp_path / "config.json").write_text("{}")  # a run's folder, whose command can be named
    path = tmp_path / "evaluate" / "test.json"
    path.write_text(json.dumps(trained[1] | {"step": two_forms.step + 1}))
    assert make_card(two_forms, tmp_path, 0)["evaluation"] is None
    path.write_text(json.dumps(trained[1] | {"step": two_forms.step, "metrics": {}}))
    with pytest.raises(InputError, match=r"earlier version.* run python -m cervix_jax\.evaluate"):
        make_card(two_forms, tmp_path, 0)
    path.write_text("{")
    with pytest.raises(InputError, match=r"test\.json: cannot be read"):
        make_card(two_forms, tmp_path, 0)
    path.write_text("[]")
    with pytest.raises(InputError, match="holds no object"):
        make_card(two_forms, tmp_path, 0)


@pytest.mark.parametrize(
    ("init_from", "start"),
    [("", "scratch"), ("/home/me/secret/w.pth", "w.pth"), ("hf:timm/x:f.bin", "hf:timm/x:f.bin")],
)
def test_where_the_weights_came_from(two_forms, init_from, start, monkeypatch):
    monkeypatch.setitem(two_forms.config.model, "init_from", init_from)
    found = make_card(two_forms, None, 0)
    assert found["training"]["start"] == start
    text = model_card(found | {"check": {"images": 1, "largest_difference": 0.0, "backend": "cpu"}})
    assert ("base_model: timm/x\n" in text) == init_from.startswith("hf:")
    assert "secret" not in text
    assert "too optimistic for new slides" in text, "its leakage is 25 %"
