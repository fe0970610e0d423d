"""The command on a trained run of the phantom, whose masks are the truth about where cells are."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver
from PIL import Image

from cervix_jax import explain, load_run
from cervix_jax.errors import InputError
from cervix_jax.explain import __main__ as command
from cervix_jax.explain.registry import EXPLANATIONS, METHODS, QUICK, REFERENCES
from cervix_jax.explanations import measuring
from cervix_jax.explanations.explainer import Explainer, MapSettings

NAMES = ("saliency", "integrated_gradients", "grad_cam")
SMALL = {
    "method": ",".join(NAMES), "images": 0, "steps": 4, "batch_size": 4, "perturbed_images": 4,
    "repeated_images": 3, "curve_steps": 4, "infidelity_samples": 3, "sensitivity_samples": 2,
    "sheet_images": 3, "figure_images": 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def call():
    before = set(flags.FLAGS)
    command.define_flags()

    def run(workdir, **values):
        with flagsaver.flagsaver(**SMALL | {"workdir": str(workdir)} | values):
            command.main(["explain"])

    yield run
    for name in set(flags.FLAGS) - before:
        delattr(flags.FLAGS, name)


@pytest.fixture(scope="module")
def explained(trained, call, tmp_path_factory):
    """The folder of the run and that of its explanations."""
    out = tmp_path_factory.mktemp("explain")
    call(trained[0], out=str(out))
    return trained[0], out


@pytest.fixture(scope="module")
def report(explained):
    return json.loads((explained[1] / "measures.json").read_text(encoding="utf-8"))


@pytest.mark.slow  # the fixtures train and explain
def test_everything_is_written(explained):
    _, out = explained
    names = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert {f"maps/{name}.npz" for name in (*NAMES, *REFERENCES)} <= names
    assert {f"sheets/{name}.png" for name in NAMES} <= names
    assert {"measures.json", "measures.csv", "index.html"} <= names
    assert not any("figure" in name or ".parts" in name for name in names)
    assert _width(out / "sheets" / "saliency.png") > 500


def _width(path):
    with Image.open(path) as picture:
        return picture.width


@pytest.mark.slow
def test_maps_are_those_of_the_library(explained):
    folder, out = explained
    run = load_run(folder)
    with np.load(out / "maps" / "integrated_gradients.npz", allow_pickle=False) as stored:
        maps, targets, settings = stored["maps"], stored["targets"], str(stored["settings"])
        filenames = stored["filenames"].tolist()
    settings = json.loads(settings)
    assert (settings["steps"], settings["baseline"], settings["output"]) == (4, "white", "logit")
    with (folder / "evaluate" / "test_predictions.csv").open(encoding="utf-8") as file:
        rows = {row["filename"]: row for row in csv.DictReader(file)}
    assert sorted(rows) == sorted(filenames)  # images=0 is the whole split
    columns = [f"p_{name}" for name in run.class_names]
    predicted = [np.argmax([float(rows[name][c]) for c in columns]) for name in filenames]
    assert targets.tolist() == predicted
    white = explain.baselines.white(run.input_range)
    images = np.asarray(run.preprocess(_pixels(run, filenames)))
    expected = explain.integrated_gradients(
        run.logits_fn, images, targets, baselines=white, steps=4
    )
    np.testing.assert_allclose(maps, expected, atol=1e-4 * np.abs(expected).max())


def _pixels(run, filenames):
    from cervix_jax import distributed
    from cervix_jax.data.experiment import open_data

    data = open_data(run.config, distributed.make_mesh(), progress=False)
    place = {name: index for index, name in enumerate(data.dataset.filenames)}
    return data.pipeline.images(np.array([place[name] for name in filenames]))


@pytest.mark.slow
def test_the_report_has_every_measure_with_interval_and_counts(report):
    assert list(report["methods"]) == [*NAMES, *REFERENCES]
    for name, found in report["methods"].items():
        measured = found["measures"]
        assert set(measured) <= set(report["measures"])
        assert {"insertion", "deletion", "road", "infidelity", "sparseness", "complexity",
                "sensitivity_max", "random_logit", "randomisation_stem", "mass_nucleus",
                "average_map",
                "rank_nucleus", "pointing_nucleus"} <= set(measured)  # fmt: skip
        assert ("completeness" in measured) == (name == "integrated_gradients")
        assert found["reference"] == METHODS[name].reference
        for key, each in measured.items():
            assert {"estimate", "interval", "n", "groups", "undefined", "better"} <= set(each)
            others = set() if key == "completeness" else set(REFERENCES) - {name}
            assert set(each["minus"]) == others
        counts = {key: each["n"] + each["undefined"] for key, each in measured.items()}
        assert counts["insertion"] == counts["road"] == 4
        assert counts["sensitivity_max"] == counts["randomisation_head"] == 3
        assert counts["sparseness"] == counts["mass_nucleus"] == report["selection"]["n"]
    assert {each["better"] for each in report["measures"].values()} == {
        "higher", "lower", "neither",
    }  # fmt: skip


@pytest.mark.slow
def test_references_score_as_theory_says(report):
    random = report["methods"]["random"]["measures"]
    for region in ("nucleus", "cytoplasm", "background"):
        low, high = random[f"mass_{region}"]["times_chance"]["interval"]
        assert low - 0.02 <= 1 <= high + 0.02, region
        assert random[f"mass_{region}"]["times_chance"]["estimate"] == pytest.approx(1, abs=0.05)
        assert random[f"rank_{region}"]["times_chance"]["estimate"] == pytest.approx(1, abs=0.3)
    assert random["sparseness"]["estimate"] == pytest.approx(1 / 3, abs=0.01)  # Gini of U(0, 1)
    for name in REFERENCES:  # do not look at the network
        measured = report["methods"][name]["measures"]
        assert measured["randomisation_stem"]["estimate"] == pytest.approx(1)
        assert measured["random_logit"]["estimate"] == pytest.approx(1)
    centre = report["methods"]["centre"]["measures"]
    assert centre["sensitivity_max"]["estimate"] == 0
    assert centre["average_map"]["estimate"] == pytest.approx(1)
    assert random["average_map"]["estimate"] == pytest.approx(0, abs=0.1)
    assert random["insertion"]["minus"]["edges"]["estimate"] == pytest.approx(
        random["insertion"]["estimate"]
        - report["methods"]["edges"]["measures"]["insertion"]["estimate"]
    )
    # Of the phantom's cells the nucleus is dark and in the middle, which the references know.
    assert centre["mass_nucleus"]["times_chance"]["estimate"] > 1.2


@pytest.mark.slow
def test_integrated_gradients_are_nearly_complete_and_depend_on_the_weights(report):
    measured = report["methods"]["integrated_gradients"]["measures"]
    assert measured["randomisation_stem"]["estimate"] < 0.9
    assert measured["random_logit"]["estimate"] < 0.9


@pytest.mark.slow
def test_the_csv_is_the_report(explained, report):
    with (explained[1] / "measures.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    whole = {(r["method"], r["measure"]): r for r in rows if r["subset"] == "all"}
    assert len(whole) == sum(len(each["measures"]) for each in report["methods"].values())
    row = whole["saliency", "mass_nucleus"]
    summary = report["methods"]["saliency"]["measures"]["mass_nucleus"]
    assert float(row["estimate"]) == pytest.approx(summary["estimate"], rel=1e-5)
    assert float(row["low"]) == pytest.approx(summary["interval"][0], rel=1e-5)
    assert float(row["chance"]) == pytest.approx(summary["chance"], rel=1e-5)
    by_class = summary["by_class"]
    assert set(by_class) <= set(load_run(explained[0]).class_names)
    assert sum(each["n"] for each in by_class.values()) == summary["n"]
    for name, each in by_class.items():
        (row,) = (r for r in rows if r["subset"] == f"class {name}" and r["method"] == "saliency"
                  and r["measure"] == "mass_nucleus")  # fmt: skip
        assert float(row["estimate"]) == pytest.approx(each["estimate"], rel=1e-5)
        assert int(row["groups"]) == each["groups"]
    assert "by_class" not in report["methods"]["saliency"]["measures"]["sparseness"]
    for subset in ("right", "wrong"):
        counted = {r["n"] for r in rows if r["subset"] == subset and r["measure"] == "sparseness"}
        expected = summary.get(subset)
        assert counted == ({str(expected["n"])} if expected else set())


@pytest.mark.slow
def test_a_second_start_makes_nothing_anew(explained, call, monkeypatch):
    folder, out = explained
    before = (out / "measures.json").read_bytes()
    monkeypatch.setattr(Explainer, "explain", lambda *a, **b: pytest.fail("explained twice"))
    monkeypatch.setattr(measuring, "measures", None)  # whatever is measured fails
    call(folder, out=str(out))
    assert (out / "measures.json").read_bytes() == before


@pytest.mark.slow
def test_after_a_stop_the_same_command_goes_on(explained, call, monkeypatch, tmp_path):
    folder, out = explained
    original, made = Explainer.explain, []

    def stopping(self, name, images, targets, progress=""):
        if name == "grad_cam":
            raise KeyboardInterrupt
        made.append(name)
        return original(self, name, images, targets, progress)

    monkeypatch.setattr(Explainer, "explain", stopping)
    with pytest.raises(KeyboardInterrupt):
        call(folder, out=str(tmp_path), measures=False)
    assert set(made) == {"saliency", "integrated_gradients"}
    made.clear()

    def noting(self, name, images, targets, progress=""):
        made.append(name)
        return original(self, name, images, targets, progress)

    monkeypatch.setattr(Explainer, "explain", noting)
    call(folder, out=str(tmp_path), measures=False)
    assert set(made) == {"grad_cam"}
    for name in NAMES:
        maps = [np.load(each / "maps" / f"{name}.npz")["maps"] for each in (out, tmp_path)]
        np.testing.assert_array_equal(*maps)
    assert not (tmp_path / "measures.json").exists()


@pytest.mark.slow
def test_other_settings_are_refused_in_one_line(explained, call):
    folder, out = explained
    with pytest.raises(InputError, match=r"steps is 4 in the file, 5 requested.*--overwrite"):
        call(folder, out=str(out), steps=5)
    with pytest.raises(InputError, match="images is 4 in the file, 3 requested"):
        call(folder, out=str(out), perturbed_images=3)


@pytest.mark.slow
def test_figure_and_another_data_set(explained, call, tmp_path, monkeypatch):
    from cervix_jax.explanations import paper_figure

    monkeypatch.setattr(paper_figure, "BASELINES", 2)
    monkeypatch.setattr(paper_figure, "STEPS", 3)
    folder, _ = explained
    options = {
        "dataset": "cervix_phantom/multi_cell", "setting": ["clusters_per_class=1"], "images": 4,
        "data_dir": load_run(folder).config.data.data_dir, "figure_images": 1,
        "method": "saliency", "sheet_images": 0, "out": str(tmp_path),
    }  # fmt: skip
    call(folder, **options)
    found = json.loads((tmp_path / "measures.json").read_text(encoding="utf-8"))
    assert found["dataset"] == "cervix_phantom/multi_cell"
    names = set(found["measures"])
    assert "mass_nucleus" in names
    assert {name.partition("_")[0] for name in names} == {"mass", "rank", "pointing", "average"}
    alone = _width(tmp_path / "figure.png")
    call(folder, **options, compare=str(folder))
    assert _width(tmp_path / "figure.png") > 1.9 * alone


@pytest.mark.slow
def test_bad_requests_are_refused(trained, call, tmp_path):
    with pytest.raises(InputError, match=r"config\.json: not found"):
        call(tmp_path)
    with pytest.raises(InputError, match=r"step='best2'.*did you mean 'best'"):
        call(trained[0], step="best2", out=str(tmp_path))
    with pytest.raises(InputError, match="has no feature map 'stage9'"):
        call(trained[0], feature_map="stage9", method="grad_cam", out=str(tmp_path))
    with pytest.raises(InputError, match="there is no builder 'herlew'"):
        call(trained[0], dataset="herlew/default", out=str(tmp_path))


def test_methods_are_read_from_a_list():
    assert command.read_methods("rise, saliency,rise") == ("rise", "saliency")
    assert command.read_methods("") == "quick"
    assert command.read_methods("all") == "all"
    assert set(QUICK) < set(EXPLANATIONS) == set(METHODS) - set(REFERENCES)
    for text, problem in (
        ("salience", "salience is not a method"),
        ("random", "random is not a method"),
        (",", "no method is given"),
        ("saliency,gradcam", "gradcam is not a method"),
    ):
        with pytest.raises(InputError, match=rf"{problem}; choose from saliency, .*, or all\."):
            command.read_methods(text)


def test_what_is_told_for_all_methods_reaches_those_that_take_it():
    told = MapSettings(steps=7, samples=9, masks=11, feature_map="stage2")
    assert told.of("integrated_gradients")["steps"] == 7
    assert told.of("smooth_grad")["samples"] == told.of("expected_gradients")["samples"] == 9
    assert told.of("rise")["samples"] == 11
    assert told.of("grad_cam")["feature_map"] == "stage2"
    assert told.of("saliency") == {}
    for name, method in METHODS.items():
        assert MapSettings().of(name) == method.settings


@pytest.mark.slow
def test_a_bad_method_ends_with_two_and_one_line():
    done = subprocess.run(
        [sys.executable, "-m", "cervix_jax.explain", "--workdir=nowhere", "--method=salience"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: --method=salience: salience is not a method")


def test_the_library_needs_no_matplotlib():
    code = "import sys, cervix_jax.explain; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
