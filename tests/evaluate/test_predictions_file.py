import csv
import dataclasses
import gzip

import numpy as np
import pytest
from random_tables import random_table
from scipy.special import logsumexp, softmax

from cervix_jax.errors import InputError
from cervix_jax.evaluate.predictions_file import logits_path, read_table, write_table
from cervix_jax.statistics.outliers import energy
from cervix_jax.statistics.table import UNKNOWN


def test_written_and_read_again(tmp_path):
    table = random_table(0)
    path = tmp_path / "test_predictions.csv"
    write_table(path, table)
    again = read_table(path)
    assert path.read_text().splitlines()[0] == "filename,group,label,predicted,p_a,p_b,p_c"
    assert (again.filenames, again.class_names) == (table.filenames, table.class_names)
    np.testing.assert_array_equal(again.groups, table.groups)
    np.testing.assert_array_equal(again.labels, table.labels)
    np.testing.assert_allclose(again.probabilities, table.probabilities, rtol=6e-6)
    np.testing.assert_allclose(again.logits, table.logits, atol=1e-6)


def test_packed_predictions_are_those_that_were_written(tmp_path):
    table, plain, packed = random_table(0), tmp_path / "a.csv", tmp_path / "b.csv.gz"
    write_table(plain, table)
    write_table(packed, table)
    assert gzip.decompress(packed.read_bytes()) == plain.read_bytes()
    assert logits_path(packed).name == "b_logits.npy"
    again, same = read_table(packed), read_table(plain)
    assert again.filenames == same.filenames
    np.testing.assert_array_equal(again.probabilities, same.probabilities)
    np.testing.assert_array_equal(again.logits, same.logits)


def test_tables_of_predict_say_path(tmp_path):
    path = tmp_path / "new.csv"
    path.write_text("path,group,class,p_a,p_b,confidence\na/1.png,g,a,0.75,0.25,0.75\n")
    table = read_table(path, labelled=False)
    assert (table.filenames, table.class_names) == (("a/1.png",), ("a", "b"))
    assert table.groups.tolist() == ["g"]
    np.testing.assert_allclose(table.probabilities, [[0.75, 0.25]])
    path.write_text("path,filename,label,p_a,p_b\nx,1.png,a,0.75,0.25\n")
    assert read_table(path).filenames == ("1.png",)


def test_logits_are_told_by_probabilities_and_energy(tmp_path):
    logits = np.array([[2.0, -1.0], [300.0, 0.0]])
    energies = -logsumexp(logits, axis=1)
    path = tmp_path / "new.csv"
    rows = zip(softmax(logits, axis=1), energies, strict=True)
    lines = [f"{n}.png,{p[0]:.9g},{p[1]:.9g},{e:.9g}" for n, (p, e) in enumerate(rows)]
    path.write_text("\n".join(["path,p_a,p_b,energy", *lines]) + "\n")
    table = read_table(path, labelled=False)
    np.testing.assert_allclose(table.logits[0], logits[0], atol=1e-6)
    np.testing.assert_allclose(energy(table), energies, rtol=1e-6)  # where p is 0, too
    for wrong in ("high", "inf", ""):
        path.write_text(f"path,p_a,p_b,energy\nx.png,0.5,0.5,{wrong}\n")
        with pytest.raises(InputError, match="line 2: energy="):
            read_table(path, labelled=False)


def test_logits_of_another_version_are_not_taken(tmp_path):
    path = tmp_path / "test_predictions.csv"
    write_table(path, random_table(0))
    kept = logits_path(path)
    assert kept.name == "test_predictions_logits.npy"
    for wrong in (random_table(1).logits, np.zeros((3, 3))):
        np.save(kept, wrong)
        assert read_table(path).logits is None
    kept.write_text("no array")
    assert read_table(path).logits is None


def test_groups_are_optional_and_labels_if_said_so(tmp_path):
    path = tmp_path / "other.csv"
    path.write_text("filename,label,p_a,p_b\nx.png,b,0.25,0.75\ny.png,a,1,0\n")
    table = read_table(path)
    assert table.groups.tolist() == ["x.png", "y.png"]
    assert table.labels.tolist() == [1, 0]
    path.write_text("filename,p_a,p_b\nx.png,0.25,0.75\n")
    assert read_table(path, labelled=False).labels.tolist() == [-1]


def test_tables_of_spreadsheets(tmp_path):
    path = tmp_path / "other.csv"
    path.write_text(
        "sep=;\rFILENAME; Label ;Energy;p_low;p_HSIL;;\rx.png;HSIL;-1,5;0,25;0,75;;\r;;;;;;\r",
        encoding="utf-16",
    )
    table = read_table(path)
    assert (table.filenames, table.class_names) == (("x.png",), ("low", "HSIL"))
    assert table.labels.tolist() == [1]
    np.testing.assert_allclose(table.probabilities, [[0.25, 0.75]])
    np.testing.assert_allclose(energy(table), -1.5)


def test_names_of_classes_keep_their_spelling(tmp_path):
    path = tmp_path / "other.csv"
    path.write_text("Filename,Label,P_Dyskeratotic,P_HSIL\nx.png,HSIL,0.25,0.75\n")
    assert read_table(path).class_names == ("Dyskeratotic", "HSIL")
    path.write_text("filename,label,p_a,p_A,P_VALUE\nx.png,A,0.25,0.75,0.01\n")
    table = read_table(path)
    assert (table.class_names, table.labels.tolist()) == (("a", "A"), [1])
    path.write_text("filename,label,p_hsil,p_nilm\nx.png,HSIL,0.25,0.75\n")
    with pytest.raises(InputError, match="the label 'HSIL' is none of the classes hsil, nilm"):
        read_table(path)


def test_an_unknown_label_stays_unknown(tmp_path):
    table = dataclasses.replace(random_table(0), labels=np.full(60, UNKNOWN))
    write_table(tmp_path / "t.csv", table)
    assert set(read_table(tmp_path / "t.csv", labelled=False).labels) == {UNKNOWN}


HEADER = "filename,group,label,p_a,p_b\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no column filename, label, p_<class>"),
        ("name,score\nx,1\n", "no column filename, label, p_<class>"),
        ("filename,label,p_a,p_a\nx,a,1,0\n", "the column 'p_a' occurs twice"),
        (HEADER, "holds no predictions"),
        (HEADER + "x,g,c,0.5,0.5\n", "line 2: the label 'c' is none of the classes a, b"),
        (HEADER + "x,g,a,1,0\ny,g,a,0.5,half\n", "line 3: p_b='half' is not a number"),
        (HEADER + "x,g,a,1\n", "line 2: has 4 cells, and the first line has 5 columns"),
        (HEADER + "x,g,a,0.9,0.9\n", "line 2: 0.9, 0.9 are not probabilities"),
        (HEADER + "x,g,a,1.5,-0.5\n", "not probabilities"),
        (HEADER + "x,g,a,nan,nan\n", "not probabilities"),
        (HEADER + "x,g,a,1,0\nx,g,a,1,0\n", "'x' occurs more than once"),
        (HEADER + '"x,g,a,1,0\n', "line 2: not a CSV row"),
    ],
)  # fmt: skip
def test_what_is_no_file_of_predictions_is_said_in_one_line(tmp_path, content, message):
    path = tmp_path / "bad.csv"
    path.write_text(content)
    with pytest.raises(InputError, match=r"bad\.csv") as error:
        read_table(path)
    assert message in str(error.value)


def test_absent_folders_and_pictures(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(InputError, match="is not a file"):
        read_table(tmp_path)
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n\xff\xfe")
    with pytest.raises(InputError, match="is not UTF-8 text"):
        read_table(tmp_path / "picture.png")


def test_the_predicted_class_is_written_and_may_be_called_anything(tmp_path):
    table = dataclasses.replace(random_table(0), class_names=("predicted", "label", "p_x"))
    path = tmp_path / "t.csv"
    write_table(path, table)
    rows = list(csv.DictReader(path.read_text().splitlines()))
    best = [table.class_names[k] for k in table.probabilities.argmax(1)]
    assert [row["predicted"] for row in rows] == best
    again = read_table(path)
    assert again.class_names == table.class_names
    np.testing.assert_array_equal(again.labels, table.labels)


THIRDS = "filename,label,p_a,p_b,p_c\n"


@pytest.mark.parametrize(
    ("content", "wanted", "word"),
    [
        (THIRDS + "x,a,0.33,0.33,0.33\n", [1 / 3] * 3, "1 of 1 rows sum to 1 only up to"),
        (THIRDS + "x,a,0.3,0.3,0.3\n", [1 / 3] * 3, "(0.9 in line 2)"),
        (THIRDS + "x,a,0.67,0.17,0.17\n", np.array([67, 17, 17]) / 101, "(1.01 in line 2)"),
        (THIRDS + "x,a,0.9,0.1,1e-05\n", np.array([0.9, 0.1, 1e-5]) / 1.00001, ""),
        (THIRDS + "x,a,30,50,20\n", [0.3, 0.5, 0.2], "in percent; divided by 100"),
        (THIRDS + "x,a,33,33,33\n", [1 / 3] * 3, "sum to 100 only up to rounding (99"),
        (THIRDS + "x,a,30%,50 %,20.0%\n", [0.3, 0.5, 0.2], "in percent"),
        (THIRDS.replace(",", ";") + "x;a;30,5;49,5;20\n", [0.305, 0.495, 0.2], "in percent"),
        (THIRDS.replace("p_b", "p_\u200bb ") + "x,b,0,1,0\n", [0, 1, 0], ""),
    ],
)
def test_rounded_probabilities_and_percentages_are_read_with_a_word(
    tmp_path, content, wanted, word, caplog
):
    path = tmp_path / "other.csv"
    path.write_text(content)
    table = read_table(path)
    assert table.class_names == ("a", "b", "c")
    np.testing.assert_allclose(table.probabilities, [wanted], atol=1e-12)
    assert word in caplog.text
    assert bool(caplog.text) == bool(word)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (THIRDS + "x,a,0.333,0.333,0.33\n", "not probabilities"),
        (THIRDS + "x,a,0.30,0.30,0.31\n", "not probabilities"),
        (THIRDS + "x,a,1,1,0\n", "not probabilities"),
        (THIRDS + "x,a,0,0,0\n", "not probabilities"),
        (THIRDS + "x,a,30,30,30\n", "not probabilities"),
        (THIRDS + "x,a,-10,60,50\n", "not probabilities"),
        (
            THIRDS + "x,a,30,50,20\ny,a,0.3,0.5,0.2\n",
            "line 3: the probabilities sum to 1, in earlier",
        ),
        (THIRDS.replace("p_b", "p_ a") + "x,a,0,1,0\n", "the class 'a' has two columns"),
        ("filename,label,p_1,p_1.0\nx,1,0,1\n", "classes '1' and '1.0' are the same number"),
    ],
)
def test_what_digits_do_not_explain_is_refused(tmp_path, content, message):
    path = tmp_path / "bad.csv"
    path.write_text(content)
    with pytest.raises(InputError, match=r"bad\.csv") as error:
        read_table(path)
    assert message in str(error.value)
