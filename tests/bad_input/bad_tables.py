"""CSV and JSON files: lists of images, annotations, predictions."""

import json

from bad_case import Case, Done
from bad_files import encoded, noise, stored, tree, write

FOLDER = ("--dataset=image_folder/default", "--manual_dir={tmp}/raw", "--data_dir={tmp}/data")
CRIC = (
    "--dataset=cric/cell",
    "--manual_dir={tmp}/raw",
    "--data_dir={tmp}/data",
    "--nocheck_counts",
)
LIST = "path,label,group\nA/1.png,A,g\nB/1.png,B,h\n"
HEAD = "image_filename,cell_id,bethesda_system,nucleus_x,nucleus_y\n"
SEMICOLONS = LIST.replace(",", ";")
CELL = "x.png,1,HSIL,5,5\n"
TABLE = "filename,group,label,p_a,p_b\n" + "".join(
    f"{n}.png,g{n // 2},{'ab'[n % 2]},{0.2 + n / 50:.2f},{0.8 - n / 50:.2f}\n" for n in range(8)
)


def _listed(id_: str, more: str | bytes, *expected: str) -> Case:
    """A list of images with a bad line."""
    text = LIST.encode() + (more.encode() if isinstance(more, str) else more)

    def make(tmp):
        tree(tmp, ("images.csv", text))
        write(tmp / "out.png", encoded(noise(1), "PNG"))

    return Case(id_, "prepare", FOLDER, ("{tmp}/raw/images.csv", *expected), make)


def _annotated(
    id_: str, text: str | bytes, *expected: str, name: str = "classifications.csv"
) -> Case:
    """Annotations of CRIC."""

    def make(tmp):
        write(tmp / "raw" / "x.png", encoded(noise(1, (60, 50)), "PNG"))
        write(tmp / "raw" / name, text)

    return Case(id_, "prepare", CRIC, (name, *expected), make)


def _predicted(id_: str, text: str | bytes | None, *expected: str, args=(), make=None) -> Case:
    """A file of predictions."""

    def lay(tmp):
        if text is not None:
            write(tmp / "p.csv", text)
        if make:
            make(tmp)

    return Case(id_, "evaluate", ("--predictions={tmp}/p.csv", *args), expected, lay)


def _accuracy(expected: float):
    def handled(done: Done):
        report = json.loads((done.folder / "p_evaluation/p.json").read_text())
        assert report["accuracy"] == expected

    return handled


def _fine(id_: str, text: str | bytes, accuracy: float) -> Case:
    return Case(
        id_,
        "evaluate",
        ("--predictions={tmp}/p.csv",),
        make=lambda tmp: write(tmp / "p.csv", text),
        handled=_accuracy(accuracy),
    )


def annotation(**cell) -> str:
    """CRIC's JSON of one cell."""
    whole = {"cell_id": 1, "bethesda_system": "HSIL", "nucleus_x": 5, "nucleus_y": 5} | cell
    return json.dumps([{"image_name": "x.png", "classifications": [whole]}])


def _both_images(done: Done):
    assert (stored(done, "A/1.png") == noise(0)).all()


def _fine_list(id_: str, text: str | bytes) -> Case:
    content = text.encode() if isinstance(text, str) else text

    def make(tmp):
        tree(tmp, ("images.csv", content))

    return Case(id_, "prepare", FOLDER, make=make, handled=_both_images)


CASES = [
    _listed("a list that leads out", "../out.png,A,g\n", "line 4", "'../out.png' must lie in"),
    _listed(
        "a list with an absolute path", "/etc/passwd,A,g\n", "line 4", "'/etc/passwd' must lie in"
    ),
    _listed("a list that leads out in Windows' way", "..\\out.png,A,g\n", "line 4", "must lie in"),
    _listed("a list with a home folder", "~/x.png,A,g\n", "line 4", "there is no file"),
    _listed("a list of a file that is absent", "A/9.png,A,g\n", "line 4", "there is no file"),
    _listed("a list with a path too long", f"{'x' * 300},A,g\n", "line 4"),
    _listed("a list with an image twice", "A/1.png,B,g\n", "line 4", "listed already (line 2)"),
    _listed("a list without a label", "A/2.png,,g\n", "line 4", "label of A/2.png is empty"),
    _listed("a list with a short line", "A/2.png,A\n", "line 4", "3 columns"),
    _listed("a list with a long line", "A/2.png,A,g,h\n", "line 4", "3 columns"),
    _listed("a list with a zero byte", "A/\0.png,A,g\n", "line 4"),
    _listed("a list that is not UTF-8", b"A/\xff.png,A,g\n", "UTF-8"),
    _listed("a list with an open quote", '"A/2.png,A,g\n', "not a CSV row"),
    _listed("a list with a huge field", f"A/2.png,{'x' * 200_000},g\n", "not a CSV row"),
    Case(
        "a list without columns",
        "prepare",
        FOLDER,
        ("images.csv, line 1", "no column path, label"),
        lambda tmp: tree(tmp, ("images.csv", b"1,2\n")),
    ),
    Case(
        "a list with a column twice",
        "prepare",
        FOLDER,
        ("images.csv, line 1", "label", "twice"),
        lambda tmp: tree(tmp, ("images.csv", b"path,label,label\nA/1.png,A,B\nB/1.png,B,A\n")),
    ),
    Case(
        "an empty list",
        "prepare",
        FOLDER,
        ("images.csv", "no column"),
        lambda tmp: tree(tmp, ("images.csv", b"")),
    ),
    Case(
        "a list of one class",
        "prepare",
        FOLDER,
        ("one class, A",),
        lambda tmp: tree(tmp, ("images.csv", b"path,label\nA/1.png,A\n")),
    ),
    _fine_list("a list with semicolons and a mark", b"\xef\xbb\xbf" + SEMICOLONS.encode()),
    _fine_list("a list that names its separator", "sep=;\r\n" + SEMICOLONS),
    _fine_list("a list with tabs in UTF-16", LIST.replace(",", "\t").encode("utf-16")),
    _fine_list("a list with old line ends", LIST.replace("\n", "\r")),
    _fine_list("a list with blanks", LIST.replace(",", ", ")),
    _fine_list("a list with capitals", LIST.replace("path,label", "Path,LABEL")),
    _fine_list("a list with empty rows", LIST.replace("\n", ",,\n") + ",,,,\n\n,,\n"),
    Case(
        "a list elsewhere",
        "prepare",
        (*FOLDER, "--setting=csv=../list.csv"),
        ("../list.csv", "must lie in"),
        tree,
    ),
    Case(
        "a pattern that hangs",
        "prepare",
        (*FOLDER, "--setting=group_pattern=(?P<group"),
        ("group_pattern", "regular expression"),
        tree,
    ),
    Case(
        "an unknown setting",
        "prepare",
        (*FOLDER, "--setting=depth=3"),
        ("--setting=depth=3", "group_pattern"),
        tree,
    ),
    Case(
        "a name that leads out", "prepare", (*FOLDER, "--setting=name=../x"), ("name='../x'",), tree
    ),
    _annotated("annotations without columns", "a,b\n", "line 1", "no column"),
    _annotated("annotations without cells", HEAD, "contains no cells"),
    _annotated("annotations of an unknown class", HEAD + "x.png,1,fine,5,5\n", "line 2", "'fine'"),
    _annotated(
        "annotations outside of the image", HEAD + "x.png,1,HSIL,5,5000\n", "line 2", "outside"
    ),
    _annotated(
        "annotations that are not numbers", HEAD + "x.png,1,HSIL,nan,5\n", "line 2", "nucleus_x"
    ),
    _annotated("annotations of a path", HEAD + "../x.png,1,HSIL,5,5\n", "line 2", "name of a file"),
    _annotated("annotations with a cell twice", HEAD + CELL + CELL, "line 3", "listed twice"),
    _annotated("annotations of other images", HEAD + "y.png,1,HSIL,5,5\n", "none of its images"),
    _annotated(
        "JSON that is cut", annotation()[:30], "is not valid JSON", name="classifications.json"
    ),
    _annotated("JSON that is an object", "{}", "must be a list", name="classifications.json"),
    _annotated(
        "JSON nested a million deep", "[" * 10**6, "is not valid JSON", name="classifications.json"
    ),
    _annotated(
        "JSON with a number of 400 digits",
        annotation(nucleus_x=10**399),
        "nucleus_x",
        name="classifications.json",
    ),
    _annotated(
        "JSON with a list for a number",
        annotation(nucleus_x=[1]),
        "nucleus_x",
        name="classifications.json",
    ),
    _annotated(
        "JSON without a class",
        annotation(bethesda_system=None),
        "bethesda_system",
        name="classifications.json",
    ),
    _predicted("predictions that are absent", None, "{tmp}/p.csv", "no such file"),
    _predicted(
        "predictions that are a folder",
        None,
        "{tmp}/p.csv",
        make=lambda tmp: (tmp / "p.csv").mkdir(),
    ),
    _predicted("empty predictions", "", "{tmp}/p.csv", "no column"),
    _predicted(
        "predictions without rows", TABLE.splitlines()[0], "{tmp}/p.csv", "holds no predictions"
    ),
    _predicted("predictions without classes", "filename,group,label\n1.png,g,a\n", "p_<class>"),
    _predicted(
        "predictions of one class",
        "filename,label,p_a\n1.png,a,1\n2.png,a,1\n",
        "{tmp}/p.csv",
        "one class",
    ),
    _predicted("predictions of a class without a name", TABLE.replace("p_b", "p_"), "{tmp}/p.csv"),
    _predicted("predictions with a column twice", TABLE.replace("p_b", "p_a"), "occurs twice"),
    _predicted("predictions with an unknown label", TABLE + "9.png,g,c,1,0\n", "line 10", "'c'"),
    _predicted("predictions without a label", TABLE + "9.png,g,,1,0\n", "line 10"),
    _predicted(
        "predictions with an image twice",
        TABLE + "1.png,g,a,1,0\n",
        "'1.png' occurs more than once",
    ),
    _predicted(
        "predictions above 1", TABLE + "9.png,g,a,1,0.5\n", "line 10", "are not probabilities"
    ),
    _predicted(
        "predictions below 0", TABLE + "9.png,g,a,1.5,-0.5\n", "line 10", "are not probabilities"
    ),
    _predicted(
        "predictions that are NaN",
        TABLE + "9.png,g,a,nan,nan\n",
        "line 10",
        "are not probabilities",
    ),
    _predicted(
        "predictions that are infinite",
        TABLE + "9.png,g,a,inf,0\n",
        "line 10",
        "are not probabilities",
    ),
    _predicted(
        "predictions that are text", TABLE + "9.png,g,a,high,low\n", "line 10", "not a number"
    ),
    _predicted("predictions with a short line", TABLE + "9.png,g,a,1\n", "line 10"),
    _predicted("predictions with a long line", TABLE + "9.png,g,a,1,0,0\n", "line 10"),
    _predicted("predictions with an empty name", TABLE + ",g,a,1,0\n", "line 10"),
    _predicted("predictions that are binary", bytes(range(256)), "{tmp}/p.csv"),
    _predicted("predictions with an open quote", TABLE + '"9.png,g,a,1,0\n', "{tmp}/p.csv"),
    _predicted(
        "validation of other classes",
        TABLE,
        "{tmp}/v.csv",
        "its classes differ",
        args=("--validation={tmp}/v.csv",),
        make=lambda tmp: write(
            tmp / "v.csv",
            TABLE.replace("a", "c").replace("filencme", "filename").replace("lcbel", "label"),
        ),
    ),
    _predicted(
        "outliers that are absent",
        TABLE,
        "{tmp}/o.csv",
        "no such file",
        args=("--outliers={tmp}/o.csv",),
    ),
    _predicted(
        "outliers of other classes",
        TABLE,
        "{tmp}/o.csv",
        "classes",
        args=("--outliers={tmp}/o.csv",),
        make=lambda tmp: write(tmp / "o.csv", "filename,p_c,p_d\n1.png,1,0\n"),
    ),
    _predicted("a rule that is none", TABLE, "--aggregate=luck", args=("--aggregate=luck",)),
    _predicted("two sources", TABLE, "give one of", args=("--compare={tmp}/p.csv",)),
    Case("nothing to evaluate", "evaluate", (), ("give one of --workdir",)),
    Case(
        "a comparison of one",
        "evaluate",
        ("--compare", "{tmp}/p.csv"),
        ("needs two", "not 1"),
        lambda tmp: write(tmp / "p.csv", TABLE),
    ),
    Case(
        "a comparison of other images",
        "evaluate",
        ("--compare", "{tmp}/p.csv", "{tmp}/q.csv"),
        ("{tmp}/q.csv", "the images differ"),
        lambda tmp: [
            write(tmp / "p.csv", TABLE),
            write(tmp / "q.csv", TABLE.replace("7.png", "9.png")),
        ],
    ),
    Case(
        "a comparison of other labels",
        "evaluate",
        ("--compare", "{tmp}/p.csv", "{tmp}/q.csv"),
        ("{tmp}/q.csv", "the labels of 1 images differ"),
        lambda tmp: [
            write(tmp / "p.csv", TABLE),
            write(tmp / "q.csv", TABLE.replace("g3,b", "g3,a")),
        ],
    ),
    Case(
        "an ensemble of nothing",
        "evaluate",
        ("--ensemble={tmp}/none", "--out={tmp}/out"),
        ("{tmp}/none",),
    ),
    _fine("predictions of one image", "filename,label,p_a,p_b\n1.png,a,1,0\n", 1.0),
    _fine(
        "predictions of images of one class",
        "filename,label,p_a,p_b\n1.png,a,1,0\n2.png,a,0,1\n",
        0.5,
    ),
    _fine(
        "predictions of a class with spaces and commas",
        'filename,label,"p_a, b",p_c\n1.png,"a, b",1,0\n2.png,c,0,1\n',
        1.0,
    ),
    _fine(
        "predictions with a mark and Windows' line ends",
        b"\xef\xbb\xbf" + TABLE.replace("\n", "\r\n").encode(),
        0.5,
    ),
    _fine("predictions between tabs", TABLE.replace(",", "\t"), 0.5),
    _fine("predictions between blanks and commas", TABLE.replace(",", " , "), 0.5),
    _fine("predictions with a decimal comma", TABLE.replace(",", ";").replace("0.", "0,"), 0.5),
    _fine("predictions in UTF-16", TABLE.encode("utf-16"), 0.5),
    _fine("predictions with empty rows at the end", TABLE + ",,,,\n\n", 0.5),
    _fine("predictions with a header in capitals", TABLE.replace("filename", "FILENAME"), 0.5),
]
