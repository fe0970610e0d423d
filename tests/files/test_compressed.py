"""Tables that are compressed with gzip are read as they would be plain, and bad ones refused."""

import gzip

import pytest

from cervix_jax.errors import InputError
from cervix_jax.files import compressed, encoding
from cervix_jax.files.tables import Table

TEXT = "path,label\na.png,A\nb.png,Ä\n"
ROWS = [("a.png", "A"), ("b.png", "Ä")]


def rows_of(path):
    return [(row["path"], row["label"]) for row in Table(path, ("path", "label"))]


@pytest.mark.parametrize("name", ["t.csv.gz", "t.csv"])  # the content counts
@pytest.mark.parametrize("coding", ["utf-8", "utf-8-sig", "utf-16"])
def test_packed_tables_are_read(tmp_path, name, coding):
    path = tmp_path / name
    path.write_bytes(gzip.compress(TEXT.replace("\n", "\r\n").encode(coding)))
    assert rows_of(path) == ROWS
    assert encoding.read_text(path) == TEXT


def test_a_name_ending_on_gz_that_was_unpacked_is_read(tmp_path):
    path = tmp_path / "t.csv.gz"
    path.write_text(TEXT, encoding="utf-8")
    assert rows_of(path) == ROWS


def test_written_is_read_and_the_same_again(tmp_path):
    for name, packed in (("a.csv.gz", True), ("b.csv.gz", True), ("c.csv", False)):
        with compressed.written(tmp_path / name) as stream:
            stream.write(TEXT)
        content = (tmp_path / name).read_bytes()
        assert (gzip.decompress(content) if packed else content) == TEXT.encode()
        assert rows_of(tmp_path / name) == ROWS
    assert (tmp_path / "a.csv.gz").read_bytes() == (tmp_path / "b.csv.gz").read_bytes()
    with pytest.raises(ZeroDivisionError), compressed.written(tmp_path / "a.csv.gz") as stream:
        stream.write(TEXT * 2 + str(1 // 0))
    assert rows_of(tmp_path / "a.csv.gz") == ROWS
    assert len(list(tmp_path.iterdir())) == 3


def damaged():
    whole = gzip.compress((TEXT * 5000).encode(), mtime=0)
    yield "cut off", whole[: len(whole) // 2]
    yield "only its mark", whole[:2]
    yield "no trailer", whole[:-8]
    yield "a wrong sum", whole[:-8] + b"12345678"
    yield "other bytes", whole[:10] + b"\xff" * 50


@pytest.mark.parametrize(("why", "content"), list(damaged()), ids=[why for why, _ in damaged()])
def test_a_damaged_one_is_named(tmp_path, why, content):
    path = tmp_path / "t.csv.gz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"t\.csv\.gz: is damaged or cut off .*copy it again"):
        rows_of(path)


def test_what_unpacks_to_too_much_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(encoding, "_MAX_BYTES", 100_000)
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(b"x" * 10_000_000))  # a line without end
    with pytest.raises(InputError, match="larger than 100,000 bytes unpacked"):
        rows_of(path)


def test_a_wrong_encoding_inside_names_the_line(tmp_path):
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(TEXT.encode("latin-1")))
    with pytest.raises(InputError, match="line 3: is not UTF-8 text"):
        rows_of(path)


def test_stems(tmp_path):
    for name in ("a_predictions", "a_predictions.csv", "a_predictions.csv.gz"):
        assert compressed.stem(tmp_path / name) == "a_predictions"
    assert compressed.stem(tmp_path / "a.tsv") == "a.tsv"
