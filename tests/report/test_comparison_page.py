"""The page of several runs: their metrics, curves and paired differences, or why there are none."""

import html
import json
import re
import shutil

import pytest

from cervix_jax.errors import InputError
from cervix_jax.evaluate.workflow import compare_runs
from cervix_jax.report.comparison import short_names, write_comparison


@pytest.fixture
def runs(small_run, tmp_path):
    """Three runs; the second has other predictions, the third lacks a test image."""
    folders = [tmp_path / name for name in ("a", "b", "c")]
    for folder in folders:
        shutil.copytree(small_run, folder)
    config = json.loads((folders[1] / "config.json").read_text())
    (folders[1] / "config.json").write_text(json.dumps(config | {"learning_rate": 0.0125}))
    lines = (small_run / "evaluate" / "test_predictions.csv").read_text().splitlines()
    names = lines[0].split(",")
    first = next(k for k, name in enumerate(names) if name.startswith("p_"))
    cells = lines[1].split(",")
    numbers = [k for k, name in enumerate(names) if name.startswith("p_")]
    for k in numbers:
        cells[k] = "0.0"
    cells[first] = "1.0"
    (folders[1] / "evaluate" / "test_predictions.csv").write_text(
        "\n".join([lines[0], ",".join(cells), *lines[2:]]) + "\n"
    )
    (folders[2] / "evaluate" / "test_predictions.csv").write_text("\n".join(lines[:-1]) + "\n")
    return folders


def test_runs_side_by_side(runs, tmp_path, small_run):
    path = write_comparison(runs, out=tmp_path / "compare.html")
    text = path.read_text(encoding="utf-8")
    plain = html.unescape(text)
    assert "<h1>Comparison of 3 runs</h1>" in text
    for name in "abc":
        assert f'<th scope="col">{name}</th>' in text
    report = json.loads((small_run / "evaluate" / "test.json").read_text())
    low, high = report["accuracy_interval"]
    assert text.count(f"<td>{report['accuracy']:.4f} ({low:.3f} to {high:.3f})</td>") >= 3
    assert '<th scope="row">learning_rate</th>' in text
    assert "<td>0.0125</td>" in text
    images = re.findall(r'<img src="(data:image/png;base64,[^"]+)" alt="([^"]+)"', text)
    assert [alt for _, alt in images] == [
        "Metrics with intervals by run", "Loss and accuracy by epoch and run",
    ]  # fmt: skip
    assert not re.search(r"https?://|url\(|@import|fetch\(", text)
    found = compare_runs(runs[0], runs[1])
    for row in found.rows:
        for cell in filter(None, [row.metric, *row.cells()]):
            assert f">{cell}<" in plain, cell
    assert "exact McNemar" in text
    assert found.sentences[0] in plain
    assert text.count("Not paired.") == 1  # a and c
    assert plain.index("A: a; B: c") < plain.index("Not paired.")


def test_two_runs_of_different_images_are_no_error(runs, tmp_path):
    path = write_comparison([runs[0], runs[2]], out=tmp_path / "two.html")
    assert "<strong>Not paired.</strong>" in path.read_text(encoding="utf-8")
    with pytest.raises(InputError):  # evaluate --compare has nothing else to print
        compare_runs(runs[0], runs[2])


def test_a_file_of_predictions_has_no_curve(runs, tmp_path):
    table = runs[1] / "evaluate" / "test_predictions.csv"
    text = write_comparison([runs[0], table], out=tmp_path / "x.html").read_text(encoding="utf-8")
    assert "No learning curve is stored for b/evaluate/test_predictions.csv." in text
    assert "The configs do not differ, or are not known." in text


def test_the_command(runs, report, tmp_path):
    out = tmp_path / "page.html"
    report(runs[1], compare=str(runs[0]), out=str(out))
    assert "Comparison of 2 runs" in out.read_text(encoding="utf-8")
    with pytest.raises(InputError, match="give either --workdir"):
        report()
    with pytest.raises(InputError, match="two or more runs or files, not 1"):
        report(compare=str(runs[0]))
    with pytest.raises(InputError, match="--cases applies to --workdir"):
        report(runs[1], compare=str(runs[0]), cases=3)
    with pytest.raises(InputError, match="unexpected argument 'b'"):
        report("b", workdir=str(runs[0]))


def test_names_are_as_short_as_they_can_be():
    assert short_names(["runs/a", "runs/b"]) == ["a", "b"]
    assert short_names(["runs/a/seed0", "runs/b/seed0"]) == ["a/seed0", "b/seed0"]
    assert short_names(["runs", "runs/b"]) == ["runs", "runs/b"]
