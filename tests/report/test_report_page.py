"""The report of a run: what is on the page, and that it works in a browser without a network."""

import html.parser
import json
import re
import shutil
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from cervix_jax import evaluate_on, load_run
from cervix_jax.config.base import base_config
from cervix_jax.errors import InputError
from cervix_jax.evaluate.predictions_file import read_table
from cervix_jax.report.gallery import choose_cases, outlines_of
from cervix_jax.statistics.table import PredictionTable

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


def predictions(confident, labels, predicted, classes=3):
    p = np.full((len(labels), classes), 0.0)
    for row, (sure, name) in enumerate(zip(confident, predicted, strict=True)):
        p[row] = (1 - sure) / (classes - 1)
        p[row, name] = sure
    names = tuple(f"{i}.png" for i in range(len(labels)))
    return PredictionTable(names, np.asarray(names), np.asarray(labels), p, ("a", "b", "c"))


def test_the_gallery_has_the_surest_errors_and_both_ends_of_every_class():
    table = predictions(
        [0.9, 0.6, 0.8, 0.7, 0.95, 0.5, 0.99, 0.55],
        [0, 0, 0, 1, 1, 2, 1, 2],
        [0, 0, 0, 1, 1, 2, 0, 1],
    )
    # Two errors (the surer first); then of a 0.9 and 0.6, of b 0.95 and 0.7, of c 0.5.
    assert choose_cases(table, 8).tolist() == [6, 7, 0, 4, 5, 1, 3, 2]
    assert choose_cases(table, 4).tolist() == [6, 0, 4, 5]
    assert choose_cases(table, 100).tolist() == [6, 7, 0, 4, 5, 1, 3, 2]
    assert choose_cases(table, 0).tolist() == []


def test_a_data_set_without_masks_has_no_outlines():
    dataset = SimpleNamespace(features={"image": None})
    assert outlines_of(dataset, [3, 5], base_config()) == ["", ""]


@pytest.fixture(scope="module")
def page(trained, report, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    path = folder / "report.html"
    # Other tests audit and explain the run that all share.
    shutil.copytree(trained[0], folder / "run", ignore=shutil.ignore_patterns("audit", "explain"))
    report(workdir=str(folder / "run"), cases=6, out=str(path))
    return path


class Elements(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def test_the_page_is_whole_and_asks_for_nothing_else(page, trained):
    text = page.read_text(encoding="utf-8")
    elements = Elements(text).found
    for _, attributes in elements:
        for name in ("src", "href"):
            assert attributes.get(name, "#").startswith(("data:", "#")), attributes
    assert not re.search(r"url\(|@import|fetch\(", text)
    images = [attributes for tag, attributes in elements if tag == "img"]
    assert all("alt" in attributes for attributes in images)
    cases = [a for tag, a in elements if tag == "li" and "case" in a.get("class", "")]
    table = read_table(trained[0] / "evaluate" / "test_predictions.csv")
    assert len(cases) == len(choose_cases(table, 6)) > 0
    overlays = [a for a in images if a.get("class") == "overlay"]
    assert len(overlays) == 3 * len(cases)
    outlines = [a for a in images if a.get("class") == "outlines"]
    assert len(outlines) == len(cases)  # the phantom has masks
    evaluated = trained[1]
    assert f"Accuracy {evaluated['accuracy']:.4f}" in text
    low, high = evaluated["metrics"]["accuracy"]["interval_by_group"]
    assert f"groups:\n{low:.3f} to {high:.3f}.</caption>" in text
    assert "fold 0 of 4" in text
    assert '<a href="#screening">' in text
    assert "Thresholds were chosen on" in text  # validation images if another test evaluated them
    area = evaluated["hierarchy"]["2"]["per_class"]["abnormal"]["auroc"]["estimate"]
    assert "Dyskeratotic, Koilocytotic against Metaplastic, " in text
    assert f"AUROC {area:.4f}" in text
    assert f"{evaluated['decision_curve']['prevalence']:.1%} of these" in text
    assert any(attributes["alt"] == "Decision curve" for attributes in images)
    assert "not for clinical use" in text
    assert re.search(r"feature map (stem|stage\d), \d+ x \d+", text)
    assert "feature map auto" not in text


def test_what_was_not_made_is_said(page):
    text = page.read_text(encoding="utf-8")
    folder = page.parent / "run"  # the exact command, for the run of the page
    assert f"<code>python -m cervix_jax.audit --workdir={folder}</code>" in text
    assert f"<code>python -m cervix_jax.explain --workdir={folder}</code>" in text


def _measures(step, **changes):
    """What `explain` leaves behind, of two methods."""
    chance = {"chance": 0.1, "times_chance": {"estimate": 3.0, "interval": [2.0, 4.0]}}
    some = {"estimate": 0.3, "interval": [0.2, 0.4], "n": 8, "groups": 4, "undefined": 0}
    none = {"estimate": None, "interval": None, "n": 0, "groups": 0, "undefined": 8}
    described = {
        "insertion": {"better": "higher", "description": "comes <in>"},
        "sparseness": {"better": "neither", "description": "how sparse"},
        "mass_nucleus": {"better": "higher", "description": "in the nucleus"},
    }
    method = {"description": "", "settings": {}, "reduction": "sum"}
    return {
        "dataset": "cervix_phantom/single_cell", "split": "test", "step": step,
        "target": "predicted", "selection": {"n": 8, "groups": 4, "wrong": 2},
        "measures": described,
        "methods": {
            "grad_cam": method | {"reference": False, "measures": {
                "insertion": some, "sparseness": none, "mass_nucleus": some | chance}},
            "random": method | {"reference": True, "measures": {"sparseness": some}},
        },
    } | changes  # fmt: skip


def test_measures_of_explanations_are_shown_where_they_belong_to_the_predictions(
    trained, report, tmp_path
):
    folder = tmp_path / "run"
    shutil.copytree(trained[0], folder)
    step = json.loads((folder / "evaluate" / "test.json").read_text())["step"]
    path = folder / "explain" / "measures.json"
    path.parent.mkdir()

    def page_with(content):
        path.write_text(content)
        report(workdir=str(folder), cases=0)
        return (folder / "report.html").read_text(encoding="utf-8")

    text = page_with(json.dumps(_measures(step)))
    assert "8 images of 4 groups, 2 wrongly classified." in text
    assert "0.3 (0.2 to 0.4), area 0.1, x3" in text
    assert "undefined" in text
    assert '<th scope="row">Grad-CAM</th>' in text
    assert '<th scope="row">(random)</th>' in text
    assert "insertion ↑: comes &lt;in&gt;" in text
    assert "Not measured yet" not in text
    for stale in ({"step": step + 1}, {"split": "val"}, {"dataset": "herlev/default"}):
        assert "Not measured yet" in page_with(json.dumps(_measures(step) | stale))
    with pytest.raises(InputError, match=r"measures\.json is damaged or was written by an earlier"):
        page_with(json.dumps(_measures(step) | {"methods": {"random": {}}}))
    with pytest.raises(InputError, match=r"measures\.json: cannot be read"):
        page_with("{")


def test_screening_of_earlier_reports_and_of_classes_without_a_negative_one(
    trained, report, tmp_path
):
    folder = tmp_path / "run"
    shutil.copytree(trained[0], folder)
    place = folder / "evaluate"
    found = json.loads((place / "test.json").read_text())

    def page_of(**changes):
        (place / "test.json").write_text(json.dumps(found | changes))
        report(workdir=str(folder), cases=0)
        return (folder / "report.html").read_text(encoding="utf-8")

    (place / "test_decision_curve.png").unlink()
    (place / "test_decisions.json").unlink(missing_ok=True)
    text = page_of(decision_curve=None)  # as versions without it wrote
    assert "Thresholds were chosen on the evaluated images" in text
    assert "Decision curve" not in text
    own = ["a", "b", "c", "d", "e"]
    renamed = dict(zip(found["class_names"], own, strict=True))
    per_class = {renamed[name]: rows for name, rows in found["per_class"].items()}
    text = page_of(class_names=own, per_class=per_class, hierarchy={}, decision_curve=None)
    assert "As a screening test" not in text
    assert "#screening" not in text
    with pytest.raises(InputError, match=r"test\.json or test_decisions\.json is damaged"):
        page_of(operating_points={})


def test_text_of_the_run_is_no_markup(trained, report, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(trained[0], folder)
    path = folder / "evaluate" / "test.json"
    found = json.loads(path.read_text())
    path.write_text(json.dumps(found | {"dataset": "<script>alert(1)</script>"}))
    report(workdir=str(folder), cases=0)
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text


def test_unknown_leakage_is_said_and_the_folder_has_its_name(trained, report, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(trained[0], folder)
    path = folder / "evaluate" / "test.json"
    found = json.loads(path.read_text())
    changes = {"dataset": "image_folder/default", "data_title": "clinic", "leakage": None}
    path.write_text(json.dumps(found | changes))
    report(workdir=str(folder), cases=0)
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert "<h1>tiny on clinic</h1>" in text
    assert "clinic (image_folder/default)" in text
    assert "The model was trained on clinic only." in text
    assert "unknown: no groups were given" in text
    # A report of an earlier version does not say the name; the config does.
    path.write_text(json.dumps({**found, **changes, "data_title": None}))
    config = json.loads((folder / "config.json").read_text())
    config["data"]["manual_dir"] = "/data/ward 3"
    (folder / "config.json").write_text(json.dumps(config))
    report(workdir=str(folder), cases=0)
    assert "<h1>tiny on ward 3</h1>" in (folder / "report.html").read_text(encoding="utf-8")


def test_an_external_validation_has_a_page_and_a_row(trained, report, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(trained[0], folder)
    with pytest.raises(InputError, match=r"the run has none yet.*--on=herlev/default"):
        report(workdir=str(folder), external="cells")
    run = load_run(folder)
    data = run.open_data()
    for split, number in (("train", 2), ("test", 3)):
        for index in data.indices(split)[:number]:
            label = data.dataset.class_names[data.dataset.labels[index]]
            (tmp_path / "cells & more" / label).mkdir(parents=True, exist_ok=True)
            pixels = data.dataset.decoded_source[int(index)]["image"]
            Image.fromarray(pixels).save(tmp_path / "cells & more" / label / f"{index}.png")
    evaluate_on(run, tmp_path / "cells & more", name="cells")
    report(workdir=str(folder), external="cells", cases=3)
    text = (folder / "external" / "cells" / "report.html").read_text(encoding="utf-8")
    assert "trained on cervix_phantom/single_cell, tested on cells &amp; more</h1>" in text
    assert "leakage 40.0%." in " ".join(text.split())
    assert "the run was trained or validated on 2 of 5 images (2 identical" in text
    assert text.count('<li class="case ') == 3
    report(workdir=str(folder), cases=0)
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert '<th scope="row">cells</th>' in text
    assert "<td>40.0%</td>" in text


def test_a_folder_without_evaluation_is_refused(report, tmp_path):
    with pytest.raises(InputError, match=r"test\.json does not exist"):
        report(workdir=str(tmp_path))


SWITCHES = """<script>
const visible = (s) => [...document.querySelectorAll(s)].filter(x => !x.hidden).length;
const before = [visible(".overlay"), visible(".case"), visible(".outlines")];
document.querySelector('input[name="method"][value="Grad-CAM"]').click();
document.getElementById("outlines").click();
document.querySelector('input[name="show"][value="right"]').click();
const slider = document.getElementById("opacity");
slider.value = 20; slider.dispatchEvent(new Event("input", {bubbles: true}));
const after = [visible(".overlay"), visible(".case"), visible(".outlines")];
const opacity = getComputedStyle(document.querySelector(".overlay:not([hidden])")).opacity;
const wide = document.documentElement.scrollWidth > window.innerWidth;
document.title = JSON.stringify({before, after, opacity, wide});
</script></body>"""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
def test_the_switches_work_in_a_browser(page, tmp_path):
    tried = tmp_path / "tried.html"
    text = page.read_text(encoding="utf-8")
    tried.write_text(text.replace("</body>", SWITCHES), encoding="utf-8")
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=500,900",
         f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", "--dump-dom",
         tried.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert "CONSOLE" not in done.stderr
    found = json.loads(re.search(r"<title>(.*?)</title>", done.stdout)[1].replace("&quot;", '"'))
    cases, right = text.count('<li class="case '), text.count('<li class="case right"')
    assert found["before"] == [0, cases, 0]
    assert found["after"] == [cases, right, cases]
    assert float(found["opacity"]) == pytest.approx(0.2)
    assert not found["wide"]
