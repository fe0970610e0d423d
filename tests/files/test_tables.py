"""Tables in every form that spreadsheets and programs write, and what is none."""

import csv
import io
import tracemalloc
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from selection import tries

from cervix_jax.errors import InputError
from cervix_jax.files.encoding import read_text
from cervix_jax.files.paths import nfc
from cervix_jax.files.tables import Table, number, same_number

KNOWN = ("path", "label", "x")
PLAIN = "path,label,x\na.png,A,24.5\nb.png,B,-1e-05\n"
ROWS = [("a.png", "A", 24.5), ("b.png", "B", -1e-05)]


@pytest.fixture
def write(tmp_path):
    def call(content: str | bytes):
        path = tmp_path / "t.csv"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return call


def rows_of(path):
    return [(row["path"], row["label"], row.number("x")) for row in Table(path, KNOWN)]


SEMICOLONS = PLAIN.replace(",", ";")
DECIMAL_COMMAS = SEMICOLONS.replace(".5", ",5").replace("-1e-05", "-0,00001")


@pytest.mark.parametrize(
    "content",
    [
        PLAIN,
        SEMICOLONS,
        PLAIN.replace(",", "\t"),
        DECIMAL_COMMAS,
        DECIMAL_COMMAS.replace(";", "\t"),
        "sep=;\n" + DECIMAL_COMMAS,
        "SEP=;\r\n" + SEMICOLONS.replace("\n", "\r\n"),
        "sep=,\n" + PLAIN,
        "sep=\t\n" + PLAIN.replace(",", "\t"),
        "sep=;;;\n" + SEMICOLONS,
        '"sep=;";;\n' + SEMICOLONS,
        '"sep=;"\r\n' + SEMICOLONS,
        "sep=; \n" + SEMICOLONS,
        b"\xef\xbb\xbf" + PLAIN.encode(),
        b"\xef\xbb\xbfsep=;\n" + SEMICOLONS.encode(),
        b"\xff\xfe" + PLAIN.replace(",", "\t").replace("\n", "\r\n").encode("utf-16-le"),
        b"\xfe\xff" + PLAIN.encode("utf-16-be"),
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("\n", "\r"),
        PLAIN.strip(),
        PLAIN.replace(",", ", ").replace("path", " path "),
        PLAIN.replace(",", " , "),
        PLAIN.replace("path", "Path").replace("label", "LABEL").replace("x\n", "X\n", 1),
        PLAIN + "\n,,\n ,\t,\n\n",
        PLAIN.replace("\n", ",,\n") + ",,,,\n",
        "\n\n" + PLAIN.replace("\nb", "\n\n\nb"),
        ",".join(f'"{cell}"' for cell in PLAIN.split(",")).replace("\n", '"\n"').removesuffix('""')
        + "\n",
        ",path,label,x\n0,a.png,A,24.5\n1,b.png,B,-1e-05\n",
        "x,note,Label,label,path\n24.5,n,n,A,a.png\n-1e-05,n,n,B,b.png\n",
    ],
)
def test_every_way_of_writing_is_read_alike(write, content):
    assert rows_of(write(content)) == ROWS


TEXTS = st.text(
    st.characters(blacklist_categories=("C", "Z"), whitelist_characters=" ,;'\"\t"), max_size=12
).map(str.strip)
CONTENT = st.lists(
    st.tuples(
        TEXTS.filter(bool), TEXTS, st.floats(-1e6, 1e6, width=32).map(lambda v: float(f"{v:.6g}"))
    ),
    max_size=5,
)


@st.composite
def written(draw):
    """Rows, and a file that holds them in some dialect."""
    rows = draw(CONTENT)
    separator = draw(st.sampled_from(",;\t"))
    comma = separator != "," and draw(st.booleans())
    pad, spare = draw(st.sampled_from(("", " ", "  "))), draw(st.integers(0, 2))
    case = draw(st.sampled_from((str.lower, str.upper, str.title)))
    text = io.StringIO(newline="")
    ends = draw(st.sampled_from(("\n", "\r\n", "\r")))
    quoting = draw(st.sampled_from((csv.QUOTE_MINIMAL, csv.QUOTE_ALL)))
    writer = csv.writer(text, delimiter=separator, lineterminator=ends, quoting=quoting)
    if draw(st.booleans()):
        text.write(f"sep={separator}{ends}")
    more = [""] * spare
    writer.writerow([*(pad + case(name) + pad for name in KNOWN), *more])
    for path, label, x in rows:
        value = f"{x:.6g}".replace(".", "," if comma else ".")
        writer.writerow([path, label, pad + value, *more])
    writer.writerows(draw(st.lists(st.sampled_from((["", "", ""], [" ", "", "", ""])), max_size=2)))
    encoding = draw(st.sampled_from(("utf-8", "utf-8-sig", "utf-16-le", "utf-16-be")))
    mark = "\ufeff" if encoding.startswith("utf-16") else ""
    return rows, (mark + text.getvalue()).encode(encoding)


def test_what_is_written_in_any_dialect_comes_back(write):
    @settings(max_examples=tries(300))
    @given(written())
    @example(([("a,b", 'say "x"', 0.5)], b'sep=;\r"PATH";" Label";"x"\r"a,b";"say ""x""";"0,5"\r'))
    def check(case):
        rows, content = case
        composed = [(nfc(path), nfc(label), x) for path, label, x in rows]
        assert rows_of(write(content)) == composed

    check()


def test_rows_know_their_line_and_columns_that_are_absent_are_empty(write):
    rows = list(Table(write('path,label\n"a\n1.png",A\n\nb.png,B\n'), (*KNOWN, "group")))
    assert [row.line for row in rows] == [3, 5]
    assert rows[0]["path"] == "a\n1.png"
    assert rows[1].where.endswith("t.csv, line 5")
    assert (rows[1].get("group"), rows[1].get("label")) == ("", "B")
    assert next(iter(Table(write("sep=;\npath;label\na;A\n"), KNOWN))).line == 3


def test_unknown_columns_keep_their_spelling(write):
    table = Table(write("PATH,p_Dyskeratotic,P_x,Note\n"), KNOWN)
    assert table.columns == ("path", "p_Dyskeratotic", "P_x", "Note")
    assert list(table) == []


def test_a_missing_column_is_told_with_what_is_there(write):
    table = Table(write("Image\tObject type\tCentroid X px\n"), ("image", "x"))
    with pytest.raises(InputError) as error:
        table.require("image", "x")
    assert str(error.value).endswith(
        "t.csv, line 1: no column x (found: image, Object type, Centroid X px, separated by tabs); "
        "the first line must name image, x."
    )
    for content, message in (
        ("", "no column path, label (found: none, separated by commas)"),
        ("# by LIMS\na,b\n", "line 2: no column path, label (found: a, b, separated by commas)"),
        ("a;b\n", "(found: a, b, separated by semicolons)"),
        ("sep=,\na;b\n", "line 2: no column path, label (found: a;b, separated by commas)"),
        (",".join(f"c{n}" for n in range(40)), "c11 and 28 more, separated"),
        ('"a\nb\x07",' + "y" * 100, rf"(found: a\nb\x07, {'y' * 40}..., separated by commas)"),
    ):
        with pytest.raises(InputError) as error:
            Table(write(content), KNOWN).require("path", "label")
        assert message in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (PLAIN + "c.png,C\n", "line 4: has 2 cells, and the first line has 3 columns"),
        (PLAIN + "c.png,C,0,5\n", "line 4: has 4 cells, and the first line has 3 columns, sep"),
        (PLAIN + "c.png,C,0,5\n", "put cells with a comma in double quotes"),
        (PLAIN + '"c.png,C,1\n', "line 4: not a CSV row"),
        (PLAIN + f"c.png,{'x' * 200_000},1\n", "line 4: not a CSV row"),
        ("path,label,x,label\n", "line 1: the column 'label' occurs twice"),
        ("path,Label,x,LABEL\n", "line 1: the column 'label' occurs twice"),
        (PLAIN + "c.png,C,half\n", "line 4: x='half' is not a number"),
        (PLAIN + "c.png,C,\n", "line 4: x='' is not a number"),
        (PLAIN + 'c.png,C,"0,5"\n', "line 4: x='0,5' is not a number"),
        (PLAIN + "c.png,C,1_000\n", "line 4: x='1_000' is not a number"),
        (SEMICOLONS + "c.png;C;1.234,5\n", "line 4: x='1.234,5' is not a number"),
        (SEMICOLONS + "c.png;C;1,234\n", "line 4: x='1,234' has a decimal comma, but earlier"),
        (PLAIN.encode() + b"L\xe4sion.png,C,1\n", "line 4: is not UTF-8 text"),
        (b"\xff\xfe" + PLAIN.encode("utf-16-le") + b"a", "is not UTF-16 text"),
        (PLAIN.encode("utf-16-le"), "line 1: is not text; save it as UTF-8"),
        (PLAIN.encode("utf-32"), "line 1: is not text; save it as UTF-8"),
        (b"\x89PNG\r\n\x1a\n\xff", "is not UTF-8 text"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_said_in_one_line(write, content, message):
    with pytest.raises(InputError, match=r"t\.csv") as error:
        rows_of(write(content))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_numbers_of_at_least_something_are_finite(write):
    table = Table(write("x\n0\n2.5\n-1\nnan\ninf\nfar\n"), ("x",))
    rows = list(table)
    assert [row.number("x", least=0) for row in rows[:2]] == [0, 2.5]
    for row in rows[2:]:
        with pytest.raises(InputError, match=r"line \d: x='.*' must be a number of at least 0"):
            row.number("x", least=0)


def test_a_comma_is_decimal_only_where_it_is_said():
    assert number(" -1.5e3 ") == -1500
    assert number("-1,5E3", decimal_comma=True) == number("-1.5E3", decimal_comma=True) == -1500
    for text, comma in (("0,5", False), ("1,234,5", True), ("1.234,5", True), ("1_0", False)):
        with pytest.raises(ValueError, match=r"."):
            number(text, decimal_comma=comma)


def test_what_is_no_file_or_too_large(tmp_path, write, monkeypatch):
    for path in (tmp_path, tmp_path / "none.csv"):
        for read in (lambda path: Table(path, KNOWN), read_text):
            with pytest.raises(InputError, match=r"no such file|is not a file"):
                read(path)
    monkeypatch.setattr("cervix_jax.files.encoding._MAX_BYTES", 10)
    with pytest.raises(InputError, match="larger than 10 bytes, so it is not the expected file"):
        Table(write(PLAIN), KNOWN)


def test_texts_may_be_utf_16(write):
    assert read_text(write("\ufeffä".encode())) == "ä"
    assert read_text(write("ä".encode("utf-16"))) == "ä"
    with pytest.raises(InputError, match="is not UTF-8 text"):
        read_text(write(b"\xe4"))


def test_rows_are_read_one_by_one(write):
    path = write("path,label,x\n" + "".join(f"{n}.png,A,0.5\n" for n in range(50_000)))
    tracemalloc.start()
    try:
        assert sum(row.number("x") for row in Table(path, KNOWN)) == 25_000
        assert tracemalloc.get_traced_memory()[1] < 200_000  # bytes; the file has a million
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_texts_are_in_one_form_of_unicode(write, form):
    text = unicodedata.normalize(form, "path,p_Läsion,label\nZelle ü.png,1,Läsion\n")
    (row,) = Table(write(text), ("path", "label"))
    composed = unicodedata.normalize("NFC", "p_Läsion")
    assert row[composed] == "1"
    assert row["path"] == unicodedata.normalize("NFC", "Zelle ü.png")
    assert row["label"] == composed[2:]


@pytest.mark.parametrize(
    "content",
    [
        "# by LIMS\n" + PLAIN,
        '"# exported, on Monday";;\n#\nsep=;\n' + DECIMAL_COMMAS,
        "sep=;\n# of path, label\n" + SEMICOLONS,
        "#" + PLAIN,
        "# a comment\n# " + PLAIN.replace(",", "\t"),
        "#," + PLAIN.replace("\n", "\n1,", 2),
        "\ufeff# by LIMS\n\u200bpath,label\u2060,x\na.png\u200b,A\u00a0\u200b,24.5\n"
        "b.png,\u200fB,-1e-05\n",
    ],
)
def test_comments_and_invisible_characters_do_not_count(write, content):
    assert rows_of(write(content)) == ROWS


def test_comments_are_left_out_with_a_word_once(write, caplog):
    path = write("# one\n# two\n" + PLAIN)
    for _ in range(2):
        rows = list(Table(path, KNOWN))
    assert rows[0].line == 4
    assert caplog.text.count("2 lines are left out before the names of the columns") == 1
    # In rows, and as a name without the others, the sign is an ordinary one.
    assert next(iter(Table(write("path,label\n#1.png,A\n"), KNOWN)))["path"] == "#1.png"


def test_a_column_a_class_is_no_label(write):
    table = Table(write("path,A,B\n1.png,1,0\n2.png,0,1\n"), KNOWN)
    with pytest.raises(InputError, match="B hold 0 and 1, one column per class; write one column"):
        table.require("path", "label")
    table = Table(write("path,A,B\n1.png,1,1\n2.png,0,1\n"), KNOWN)
    with pytest.raises(InputError, match="the first line must name path, label"):
        table.require("path", "label")


def test_another_encoding_is_named_with_the_way_out(write):
    path = write("path,label\n1.png,A\n2.png,schwere Läsion\n".encode("cp1252"))
    with pytest.raises(InputError) as error:
        list(Table(path, KNOWN))
    assert "line 3: is not UTF-8 text, but probably Windows-1252 (Latin 1): 'Läsion' there" in str(
        error.value
    )
    assert f"iconv -f WINDOWS-1252 -t UTF-8 {path} > new.csv" in str(error.value)


def test_names_that_are_one_number():
    assert same_number(["1", "2", "1.0"]) == ("1", "1.0")
    assert same_number(["01", "2,0", "1", "2"]) == ("01", "1")
    assert same_number(["1", "2", "1a", "nan", "NaN", "A", "1", "-1"]) is None


def test_numbers_may_have_a_sign_of_percent_where_it_is_asked_for(write):
    (row,) = Table(write("x;path\n30,5 %;a\n"), KNOWN)
    assert row.number("x", percent=True) == 30.5
    with pytest.raises(InputError, match="is not a number"):
        row.number("x")
