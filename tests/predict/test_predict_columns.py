"""Every column that `predict` writes has its line in docs/columns.md, and no line is of none."""

import csv
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cervix_jax.predict import cell_files, cell_summary
from cervix_jax.predict.cell_rows import POSITION
from cervix_jax.predict.class_columns import class_columns
from cervix_jax.predict.severity import severity_of
from cervix_jax.predict.workflow import predict_images
from cervix_jax.runs.run import load_run

PAGE = Path(__file__).parents[2] / "docs" / "columns.md"


def _documented(part: str) -> set[str]:
    text = PAGE.read_text(encoding="utf-8").split(f"\n## {part}")[1].split("\n## ")[0]
    return set(re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE))


def _written(path: Path, classes: tuple[str, ...]) -> set[str]:
    with path.open(newline="", encoding="utf-8") as file:
        head = next(csv.reader(file))
    names = {f"{start}{name}": f"{start}<class>" for name in classes
             for start in ("p_", "windows_", "nuclei_")}  # fmt: skip
    return {names.get(name, name) for name in head}


@pytest.fixture
def classes(workdir):
    return load_run(workdir).class_names


def test_columns_of_images_and_groups(workdir, classes, cells, tmp_path):
    (tmp_path / "bad.png").write_text("no image")
    some = [*sorted(cells.rglob("*.png"))[:3], tmp_path / "bad.png"]
    predict_images(
        workdir, some, out=tmp_path / "p.csv", group="parent", overlay=tmp_path / "o",
        coverage=0.9, progress=False,
    )  # fmt: skip
    assert _written(tmp_path / "p.csv", classes) == _documented("Images")
    assert _written(tmp_path / "p_groups.csv", classes) == _documented("Groups")
    assert _written(tmp_path / "p_skipped.csv", classes) == _documented("Left out")


def test_columns_of_fields(workdir, classes, field, tmp_path):
    given = {"progress": False, "maps": tmp_path / "maps"}
    predict_images(workdir, field, out=tmp_path / "w.csv", field="window", window=50, **given)
    table = tmp_path / "positions.csv"
    table.write_text(f"image,x,y\n{field.name},20,20\n")
    predict_images(workdir, field, out=tmp_path / "n.csv", field="nuclei", positions=table,
                   crop=36, **given)  # fmt: skip
    written = [_written(tmp_path / name, classes) for name in ("w.csv", "n.csv")]
    assert set.union(*written) == _documented("Fields")


def test_columns_of_slides():
    names = ("NILM", "LSIL", "HSIL")
    generic = {f"{start}{name}": f"{start}<class>" for name in names for start in ("p_", "cells_")}
    written = {
        generic.get(name, name)
        for name in cell_summary.columns(severity_of(names, names, names[1:]))
    }
    assert {*written, *cell_files.FILES} == _documented("Slides")


def test_columns_of_cells():
    validation: Any = SimpleNamespace(threshold=0.5)
    written = {"path", *POSITION, *class_columns(("<class>",), validation)}
    assert written == _documented("Cells")
