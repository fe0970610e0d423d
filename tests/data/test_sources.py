import os

import pytest

from cervix_jax.data.sources import SourceFiles


@pytest.fixture
def root(tmp_path):
    for name in ("A/1.png", "A/2.JPG", "list.csv", "B/deep/3.tif", "B/1.dat"):
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return tmp_path / "root"


def test_images_and_tables_count_and_what_systems_leave_does_not(root):
    before = SourceFiles.of(root)
    assert (before.folder, before.count) == (str(root), 5)
    assert before.size == sum(len(p.read_bytes()) for p in root.rglob("*") if p.is_file())
    for name in (".hidden/1.png", "A/._1.png", "__MACOSX/2.png", "notes.txt", "A/Thumbs.db"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"x")
    (root / "A" / "nowhere.png").symlink_to(root / "no such file")
    assert before.change(SourceFiles.of(root)) == ""
    assert SourceFiles.from_json(before.to_json()) == before
    assert SourceFiles.from_json(None) is SourceFiles.from_json({"count": 3}) is None


def test_the_order_of_listing_does_not_matter(root, monkeypatch):
    before = SourceFiles.of(root)
    walk = os.walk

    def reverse(*args, **kwargs):
        for folder, inner, names in walk(*args, **kwargs):
            inner.reverse()
            yield folder, inner, names[::-1]

    monkeypatch.setattr(os, "walk", reverse)
    assert SourceFiles.of(root) == before


def test_every_change_is_seen(root, tmp_path):
    before = SourceFiles.of(root)
    (root / "list.csv").write_bytes(b"LIST.CSV")
    os.utime(root / "list.csv", (1, 1))
    assert "names, sizes or tables have changed" in before.change(SourceFiles.of(root)), "same size"
    (root / "list.csv").write_bytes(b"list.csv")
    os.utime(root / "list.csv", (1, 1))
    assert before.change(SourceFiles.of(root)) == ""
    (root / "A" / "1.png").rename(root / "A" / "9.png")
    assert "names, sizes or tables have changed" in before.change(SourceFiles.of(root))
    (root / "A" / "9.png").rename(root / "B" / "1.png")
    assert "names, sizes or tables have changed" in before.change(SourceFiles.of(root))
    (root / "B" / "1.png").unlink()
    assert before.change(SourceFiles.of(root)) == "now 4 files of 34 bytes, before 5 of 41"


def test_when_files_were_written_says_nothing_of_a_copy(root, tmp_path):
    before = SourceFiles.of(root)
    copy = root.rename(tmp_path / "copy")
    os.utime(copy / "A" / "1.png", (4e9, 4e9))
    assert before.change(SourceFiles.of(copy)) == ""
    copy.rename(root)
    assert before.change(SourceFiles.of(root)) == "files of the same names, written later"


def test_linked_folders_count_once_and_end(root, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "5.png").write_bytes(b"x")
    (root / "C").symlink_to(other)
    (root / "loop").symlink_to(root)
    assert SourceFiles.of(root).count == 6
    assert SourceFiles.of(root, other).count == 5
    assert SourceFiles.of(root, root / "B").count == 4
