"""The commands that look at images of one's own: predict, and explain."""

import csv
import os
from pathlib import Path

from bad_case import Case, Done
from bad_files import encoded, noise, png_that_claims, write
from bad_images import ALPHA, DEEP, FLOATS, FRAMES, ON_WHITE, exif
from bad_outputs import full_disk

GOOD = encoded(noise(1), "PNG")
STRANGE = {
    "empty.png": b"",
    "text.jpg": b"<html>",
    "cut.png": GOOD[:-200],
    "huge.png": png_that_claims(100_000, 100_000),
    "deep.png": encoded(DEEP, "PNG"),
    "floats.tif": encoded(FLOATS, "TIFF"),
    "pages.tif": encoded(FRAMES[0], "TIFF", save_all=True, append_images=FRAMES[1:]),
}


def _images(tmp: Path) -> None:
    """`raw` with two images."""
    for seed in (1, 2):
        write(tmp / "raw" / f"{seed}.png", encoded(noise(seed), "PNG"))


def _strange(tmp: Path) -> None:
    """`raw` with two images, and much that is none."""
    _images(tmp)
    for name, content in STRANGE.items():
        write(tmp / "raw" / name, content)
    os.mkfifo(tmp / "raw" / "pipe.png")
    (tmp / "raw" / "folder.jpg").mkdir()
    (tmp / "raw" / "loop.png").symlink_to("loop.png")
    (tmp / "raw" / "gone.png").symlink_to("nowhere.png")
    write(tmp / "raw" / "notes.txt", "x")


def _only_strange(tmp: Path) -> None:
    write(tmp / "raw" / "x.png", b"")


def _named(tmp: Path) -> None:
    for name in ("a b.png", "子宮 🔬.png", "two\nlines.png", 'q",q.png', "X.PNG"):
        write(tmp / "raw" / name, GOOD)
    with open(os.fsencode(tmp / "raw") + b"/\xff.png", "wb") as file:
        file.write(GOOD)


def _views(tmp: Path) -> None:
    """Twice the same picture, in two forms each."""
    smooth = noise(5)
    write(tmp / "raw/a1.tif", encoded(smooth, "TIFF"))
    write(tmp / "raw/a2.png", encoded(smooth.swapaxes(0, 1)[:, ::-1], "PNG", exif=exif(8)))
    write(tmp / "raw/b1.png", encoded(ALPHA, "PNG"))
    write(tmp / "raw/b2.bmp", encoded(ON_WHITE.astype("uint8"), "BMP"))


def _rows(path: Path) -> list[dict]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def predicted(count: int, skipped: int):
    def handled(done: Done):
        assert len(_rows(done.folder / "p.csv")) == count
        reasons = done.folder / "p_skipped.csv"
        assert (len(_rows(reasons)) if skipped else reasons.exists()) == skipped
        assert not list(done.folder.glob("p.csv.*"))

    return handled


def _same_in_pairs(done: Done):
    rows = _rows(done.folder / "p.csv")
    assert [Path(row["path"]).name for row in rows] == ["a1.tif", "a2.png", "b1.png", "b2.bmp"]
    scores = [[row[name] for name in row if name.startswith("p_")] for row in rows]
    assert scores[0] == scores[1]
    assert scores[2] == scores[3]


def _predict(id_: str, *args: str, expected=(), make=_images, **fields) -> Case:
    given = ("--workdir={run}", "--out={tmp}/p.csv", "{tmp}/raw", *args)
    return Case(id_, "predict", given, expected, make, **fields)


def _flags(id_: str, args: tuple[str, ...], *expected: str, make=_images) -> Case:
    """Whatever is given, all of it."""
    return Case(id_, "predict", args, expected, make)


RUN, OUT, RAW = "--workdir={run}", "--out={tmp}/p.csv", "{tmp}/raw"
POSITIONS = ("--field=nuclei", "--positions={tmp}/n.csv", "--crop=9")


def _positions(text: str):
    return lambda tmp: [_images(tmp), write(tmp / "n.csv", text)]


def _explain(id_: str, *args: str, expected: tuple[str, ...], make=None) -> Case:
    return Case(id_, "explain", ("--workdir={run}", "--data_dir={data}", *args), expected, make)


CASES = [
    _predict("much that is no image", make=_strange, handled=predicted(2, len(STRANGE) + 3)),
    _predict("strange names", make=_named, handled=predicted(6, 0)),
    _predict("the same pictures in other forms", make=_views, handled=_same_in_pairs),
    _predict(
        "an image that is none, strictly",
        "--strict",
        make=_only_strange,
        expected=("{tmp}/raw/x.png",),
    ),
    _predict(
        "an empty folder",
        make=lambda tmp: (tmp / "raw").mkdir(),
        expected=("{tmp}/raw", "no image found"),
    ),
    _flags("images that are absent", (RUN, OUT, "{tmp}/none"), "{tmp}/none", "no such file"),
    _flags("a pattern of nothing", (RUN, OUT, "{tmp}/raw/*.gif"), "{tmp}/raw/*.gif", "no file"),
    _flags("no images", (RUN, OUT), "no images are given"),
    _flags("no table", (RUN, RAW), "--out is missing"),
    _flags("a table of another kind", (RUN, "--out={tmp}/p.xls", RAW), "{tmp}/p.xls", ".csv"),
    _flags("a table below a file", (RUN, "--out={tmp}/raw/1.png/p.csv", RAW), "{tmp}/raw/1.png"),
    _predict(
        "a table that is a folder",
        expected=("{tmp}/p.csv", "is a folder"),
        make=lambda tmp: [_images(tmp), (tmp / "p.csv").mkdir()],
    ),
    _predict(
        "a table that is a pipe",
        "--overwrite",
        expected=("{tmp}/p.csv", "a pipe"),
        make=lambda tmp: [_images(tmp), os.mkfifo(tmp / "p.csv")],
    ),
    _predict(
        "a table that is there",
        expected=("{tmp}/p.csv", "exists already"),
        make=lambda tmp: [_images(tmp), write(tmp / "p.csv", "mine")],
    ),
    _predict(
        "a table that another command began",
        "--resume",
        expected=("{tmp}/p.csv.part", "--overwrite"),
        make=lambda tmp: [_images(tmp), write(tmp / "p.csv.part", "{\n")],
    ),
    _predict("to go on and to begin", "--resume", "--overwrite", expected=("--resume",)),
    *(
        _predict(f"a shard of {text}", f"--shard={text}", expected=(f"--shard={text}:", "3/16"))
        for text in ("0/0", "0/4", "5/4", "-1/4", "1.5/4", "a/b", "")
    ),
    _predict(
        "a shard beside a command without shards", "--shard=1/2", expected=("{tmp}/p.csv.part",),
        make=lambda tmp: [_images(tmp), write(tmp / "p.csv.part", "{}\n")],
    ),
    _predict(
        "a shard beside those of other numbers", "--shard=1/2", "--overwrite",
        expected=("{tmp}/p.csv.shard-1-of-4.part", "4 shards"),
        make=lambda tmp: [_images(tmp), write(tmp / "p.csv.shard-1-of-4.part", "{}\n")],
    ),
    _predict(
        "a shard that another command began", "--shard=1/2", "--resume",
        expected=("{tmp}/p.csv.shard-1-of-2.part", "--overwrite"),
        make=lambda tmp: [_images(tmp), write(tmp / "p.csv.shard-1-of-2.part", "{\n")],
    ),
    _flags("nothing to merge", ("--merge", OUT), "{tmp}/p.csv", "no parts of shards"),
    _flags("a merge of images", ("--merge", OUT, RAW), "leave out {tmp}/raw"),
    _flags("a merge with a flag of the shards", ("--merge", OUT, RUN), "leave out --workdir"),
    _flags("a merge of a shard that is missing", ("--merge", OUT), "shard 2 of 2 is missing",
        make=lambda tmp: write(tmp / "p.csv.shard-1-of-2.part", "{}\n")),
    _predict("a batch below one", "--batch_size=-1", expected=("--batch_size=-1",)),
    _predict("no pixels", "--max_pixels=0", expected=("--max_pixels=0",)),
    _predict("a coverage above 1", "--coverage=2", expected=("--coverage=2",)),
    _predict("a coverage that is NaN", "--coverage=nan", expected=("--coverage=nan",)),
    _predict("no temperature", "--calibrated", expected=("--calibrated", "no temperature")),
    _predict("a group that captures nothing", "--group=a+",
             expected=("--group=a+", "has no capture group")),
    _predict("a group that is no pattern", "--group=(", expected=("--group=(", "expression")),
    _predict("a method that is none", "--method=luck", "--overlay=x", expected=("--method=luck",)),
    _predict("a window without a field", "--window=9", expected=("--window", "--field=window")),
    _predict("no window", "--field=window", expected=("--window=0",)),
    *(
        _predict(
            f"{name} {value}", "--field=window", "--window=9", f"--{name}={value}",
            expected=(f"--{name}={value}",),
        )
        for name, value in (
            ("overlap", "1"), ("overlap", "nan"), ("min_contrast", "nan"),
            ("min_probability", "2"), ("severity", "a,b"), ("abnormal", "luck"),
        )
    ),
    _predict("nuclei without positions", "--field=nuclei", expected=("--positions=FILE",)),
    _predict("positions that are absent", *POSITIONS, expected=("{tmp}/n.csv",)),
    *(
        _predict(f"positions: {id_}", *POSITIONS, make=_positions(text), expected=expected)
        for id_, text, expected in (
            ("no columns", "a,b\n", ("{tmp}/n.csv",)),
            ("none", "image,x,y\n", ("{tmp}/n.csv", "holds no positions")),
            ("NaN", "image,x,y\n1.png,nan,2\n", ("{tmp}/n.csv, line 2",)),
            ("below zero", "image,x,y\n1.png,-1,2\n", ("{tmp}/n.csv, line 2",)),
            ("outside", "image,x,y\n1.png,1,2\n2.png,99,2\n", ("{tmp}/n.csv, line 3", "outside")),
        )
    ),
    _predict(
        "predictions to a full disk", expected=("{tmp}/p.csv", "File too large"),
        around=lambda: full_disk(100),
    ),
    _explain("no method", "--method=luck", expected=("luck",)),
    _explain("no feature map", "--method=grad_cam", "--feature_map=stage9", expected=("stage9",)),
    _explain("images below zero", "--images=-1", expected=("--images=-1",)),
    _explain("steps below one", "--steps=0", expected=("--steps=0",)),
    _explain("a baseline that is none", "--baseline=grey", expected=("--baseline=grey",)),
    _explain("a split that is none", "--split=all", expected=("--split=all",)),
    _explain("a data set that is none", "--dataset=x/y", expected=("data set 'x/y'",)),
    _explain("a run to compare that is absent", "--compare={tmp}/none", expected=("{tmp}/none",)),
    _explain(
        "maps below a file", "--out={tmp}/file/x", "--method=saliency", "--images=2",
        expected=("{tmp}/file/x",), make=lambda tmp: write(tmp / "file", "mine"),
    ),
    _explain(
        "maps that are damaged", "--method=saliency", "--images=2", "--nomeasures",
        expected=("{tmp}/run/explain/maps/saliency.npz",),
        make=lambda tmp: write(tmp / "run/explain/maps/saliency.npz", "PK"),
    ),
]  # fmt: skip
