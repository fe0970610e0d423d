"""Files that a folder holds and that are not looked at are counted and named."""

import shutil

import pytest

from cervix_jax.errors import InputError
from cervix_jax.predict.workflow import predict_images


@pytest.fixture
def mixed(cells, tmp_path):
    folder = tmp_path / "mixed"
    folder.mkdir()
    some = sorted(cells.rglob("*.png"))[:2]
    for path in some:
        shutil.copy(path, folder)
    for name in ("a.webp", "b.WEBP", "c.svs", "notes.txt", "noend", ".hidden", "Thumbs.db"):
        (folder / name).write_text("no image")
    return folder


def test_they_are_counted_by_suffix(workdir, mixed, tmp_path, capsys):
    found = predict_images(workdir, mixed, out=tmp_path / "p.csv")
    assert found.rows == found.images == 2
    assert found.unread == {".webp": 2, "": 1, ".svs": 1, ".txt": 1}
    said = capsys.readouterr().err
    assert "5 files are not read: 2 .webp, 1 without suffix, 1 .svs, 1 .txt (e.g. " in said
    assert "3 of them are images of a format that is not read" in said


def test_of_patterns_too_and_not_of_files_that_are_named(workdir, mixed, tmp_path):
    found = predict_images(workdir, f"{mixed}/*", out=tmp_path / "p.csv", progress=False)
    assert found.unread == {".webp": 2, "": 1, ".svs": 1, ".txt": 1}
    named = predict_images(
        workdir, [mixed, mixed / "a.webp"], out=tmp_path / "q.csv", progress=False
    )
    assert (named.images, named.rows) == (3, 2)


def test_a_folder_of_such_files_only_says_which(workdir, mixed, tmp_path):
    for path in mixed.glob("*.png"):
        path.unlink()
    with pytest.raises(InputError, match=r"no image found \(5 files are not read: 2 \.webp"):
        predict_images(workdir, mixed, out=tmp_path / "p.csv")


def test_the_call_says_why_there_are_no_sets(workdir, without_decisions, cells, tmp_path):
    found = predict_images(without_decisions, cells, out=tmp_path / "p.csv", progress=False)
    assert f"`python -m cervix_jax.evaluate --workdir={without_decisions}`" in found.no_sets
    assert not predict_images(workdir, cells, out=tmp_path / "q.csv", progress=False).no_sets
