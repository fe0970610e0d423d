"""What a folder holds and a command does not read is counted; what systems leave does not count."""

import pytest

from cervix_jax.errors import InputError
from cervix_jax.files.folders import Unread, entries, is_leftover


def test_unread_files_are_counted_by_suffix():
    unread = Unread()
    assert (len(unread), bool(unread), unread.counts()) == (0, False, {})
    for name in ("a.txt", "b.WEBP", "c.webp", "d", "e/f.Svs"):
        unread.add(name)
    assert unread.counts() == {".webp": 2, "": 1, ".svs": 1, ".txt": 1}
    text = unread.text()
    assert text.startswith("5 files are not read: 2 .webp, 1 without suffix, 1 .svs, 1 .txt (e.g.")
    assert "(e.g. b.WEBP); 3 of them are images of a format that is not read: save as" in text
    assert "\n" not in text


def test_files_that_are_no_images_need_no_hint():
    unread = Unread()
    unread.add("notes/a.txt")
    assert unread.text() == "1 file is not read: 1 .txt (e.g. notes/a.txt)"


def test_many_suffixes_are_cut():
    unread = Unread()
    for number in range(12):
        unread.add(f"a.x{number:02d}")
    assert "1 .x07 and 4 more suffixes (e.g. a.x00)" in unread.text()


@pytest.mark.parametrize(
    "name", [".DS_Store", "._a.png", "__MACOSX", "@eaDir", "Thumbs.db", "desktop.ini", "~$a.xlsx"]
)
def test_what_systems_leave_does_not_count(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    (tmp_path / "a.png").write_bytes(b"")
    assert is_leftover(name)
    assert [path.name for path in entries(tmp_path)] == ["a.png"]
    with pytest.raises(InputError, match="cannot be listed"):
        entries(tmp_path / "none")
