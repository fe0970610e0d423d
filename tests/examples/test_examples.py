"""Every script of `examples/` on a run of seconds, as its docstring says it is called."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

EXAMPLES = Path(__file__).parents[2] / "examples"


def load(name: str):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def run_folder(trained) -> str:
    return str(trained[0])


def picture(path: Path) -> np.ndarray:
    """The pixels of a picture that is one: of some size, not of one colour."""
    pixels = np.asarray(Image.open(path).convert("RGB"))
    assert min(pixels.shape[:2]) > 200
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50
    return pixels


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_scripts_are_short_and_say_how_to_call_them(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 80
    call = f"python {'' if path.stem == 'run_exported' else 'examples/'}{path.name} "
    assert call in load(path.stem).__doc__


@pytest.mark.slow
def test_everything_from_python(tiny_config, tmp_path, capsys):
    script = load("python_first")
    assert script.make_config().num_epochs == 3
    script.main(str(tmp_path / "run"), tiny_config())
    printed = capsys.readouterr().out
    assert "tiny: accuracy " in printed
    (explained,) = [line for line in printed.splitlines() if line.startswith("maps of ")]
    assert "saliency" in explained
    assert "grad_cam" in explained
    assert "cell.png," in printed
    assert (tmp_path / "run" / "evaluate" / "val.json").is_file()


@pytest.mark.slow
def test_clusters_from_their_cells(run_folder, trained, capsys):
    load("aggregate_clusters").main(run_folder)
    attention, mean = capsys.readouterr().out.splitlines()
    clusters = trained[1]["groups"]
    assert re.fullmatch(rf"attention: \d+ of {clusters} clusters correct", attention)
    by_rule = trained[1]["aggregation"]["accuracy"]["mean_log_probability"]
    right = by_rule["successes"]
    assert mean == f"mean log-probability: {right} of {clusters} clusters correct"


@pytest.mark.slow
def test_attention_finds_the_cell_that_counts():
    """A feature marks the one cell of each bag that shows the label; the others mislead."""
    script, random = load("aggregate_clusters"), np.random.default_rng(0)

    def needles(bags=200, size=5):
        labels, key = random.integers(0, 2, bags), random.integers(0, size, bags)
        features, shown = random.normal(size=(bags, size, 6)), random.integers(0, 2, (bags, size))
        features[..., 0] = 3 * (np.arange(size) == key[:, None])
        shown[np.arange(bags), key] = labels
        logits = np.log(np.where(np.eye(2)[shown] > 0, 0.9, 0.1))
        return features, logits, np.ones((bags, size), bool), labels, key

    *train, _ = needles()
    features, logits, mask, labels, key = needles()
    found, attention = script.attention_pooling(script.fit(*train), features, logits, mask)
    assert (logits.mean(1).argmax(1) == labels).mean() < 0.85
    assert (found.argmax(1) == labels).mean() > 0.9
    assert (attention.argmax(1) == key).mean() > 0.9
    np.testing.assert_allclose(attention.sum(1), 1, atol=1e-5)
    half = np.arange(5) < 3
    _, attention = script.attention_pooling(script.fit(*train), features, logits, mask & half)
    assert not attention[:, 3:].any()


@pytest.mark.slow
def test_saliency_of_an_image_file(run_folder, tmp_path, capsys):
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 255, (50, 70, 3), np.uint8)).save(tmp_path / "cell.png")
    load("saliency_of_one_image").main(
        run_folder, str(tmp_path / "cell.png"), str(tmp_path / "map.png")
    )
    picture(tmp_path / "map.png")
    name, probability = capsys.readouterr().out.splitlines()[0].rsplit(" ", 1)
    assert name in ("Dyskeratotic", "Koilocytotic", "Metaplastic", "Parabasal",
                    "Superficial-Intermediate")  # fmt: skip
    assert 0.2 <= float(probability) <= 1


@pytest.mark.slow
def test_features_as_picture_and_as_numbers(run_folder, tmp_path):
    script = load("features_to_picture")
    script.main(run_folder, str(tmp_path / "features.png"))
    picture(tmp_path / "features.png")
    script.main(run_folder, str(tmp_path / "features.npz"))
    with np.load(tmp_path / "features.npz") as kept:
        assert len(kept["features"]) == len(kept["labels"]) == len(kept["groups"]) == 40
        assert np.isfinite(kept["features"]).all()
        assert set(kept["splits"]) == {"train", "val", "test"}


@pytest.mark.slow
def test_phantom_figure(run_folder, tmp_path):
    load("phantom_figure").main(run_folder, run_folder, str(tmp_path / "figure.png"))
    picture(tmp_path / "figure.png")
