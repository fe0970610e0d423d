import json
import os

import pytest

from cervix_jax.errors import InputError
from cervix_jax.files import atomic


def test_file_appears_whole(tmp_path):
    atomic.write_json(tmp_path / "deep" / "a.json", {"ä": [1, 2]})
    assert (tmp_path / "deep" / "a.json").read_text(encoding="utf-8") == '{"ä": [1, 2]}\n'


def test_what_fits_on_a_line_is_on_one():
    value = {"rows": [{"estimate": 0.1, "interval": [0.0, 1.0]}] * 20, "n": 3, "none": {}}
    text = atomic.readable_json(value)
    assert json.loads(text) == value
    lines = text.splitlines()
    assert len(lines) == 2 + 2 + 20 + 2
    assert lines[2] == '    {"estimate": 0.1, "interval": [0.0, 1.0]},'


def test_failure_keeps_the_old_file_and_leaves_nothing_behind(tmp_path):
    path = tmp_path / "a.txt"
    atomic.write_text(path, "old")

    def fail_halfway():
        with atomic.replacing(path) as temporary:
            temporary.write_text("half of the n")
            raise RuntimeError("halfway")

    with pytest.raises(RuntimeError, match="halfway"):
        fail_halfway()
    assert path.read_text() == "old"
    assert [child.name for child in tmp_path.iterdir()] == ["a.txt"]


def test_not_a_number_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        atomic.write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert not list(tmp_path.iterdir())


def test_permissions_are_those_of_an_ordinary_file(tmp_path):
    plain = tmp_path / "plain"
    plain.write_text("")
    atomic.write_text(tmp_path / "ours", "")
    assert (tmp_path / "ours").stat().st_mode == plain.stat().st_mode


def test_a_folder_that_cannot_be_made_is_bad_input(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        atomic.write_text(tmp_path / "file" / "a.txt", "x")
    assert os.listdir(tmp_path) == ["file"]


def test_a_folder_appears_whole(tmp_path):
    (tmp_path / "out").mkdir()  # an empty one is taken
    with atomic.new_folder(tmp_path / "out") as folder:
        (folder / "a.txt").write_text("a")
        assert not os.listdir(tmp_path / "out")
    assert os.listdir(tmp_path / "out") == ["a.txt"]
    assert os.listdir(tmp_path) == ["out"]
    (tmp_path / "plain").mkdir()
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_folder_that_fails_leaves_nothing_behind(tmp_path):
    def fail_halfway():
        with atomic.new_folder(tmp_path / "deep" / "out") as folder:
            (folder / "a.txt").write_text("half")
            raise RuntimeError("halfway")

    with pytest.raises(RuntimeError, match="halfway"):
        fail_halfway()
    assert not os.listdir(tmp_path / "deep")


@pytest.mark.parametrize("kind", ["full", "file", "link"])
def test_a_folder_takes_the_place_of_nothing(tmp_path, kind):
    path = tmp_path / "out"
    if kind == "full":
        path.mkdir()
        (path / "precious").write_text("x")
    elif kind == "file":
        path.write_text("x")
    else:
        path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match="exists already"), atomic.new_folder(path):
        pass
    assert os.listdir(tmp_path) == ["out"]


def test_a_folder_in_a_file_is_bad_input(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(InputError, match="cannot be written"),
        atomic.new_folder(tmp_path / "file" / "a"),
    ):
        pass


def test_a_table_for_excel_has_one_mark(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("path,label\nü.png,Läsion\n", encoding="utf-8")
    for _ in range(2):
        atomic.mark_for_excel(path)
    assert path.read_bytes() == "\ufeffpath,label\nü.png,Läsion\n".encode()
