"""Trees of images as people have them on disk, and the names in them."""

import contextlib
import errno
import os
import shutil
from pathlib import Path

import pytest
from bad_case import Case, Done
from bad_files import encoded, noise, sipakmed_tree, stored, tree, write

ARGS = ("--dataset=image_folder/default", "--manual_dir={tmp}/raw", "--data_dir={tmp}/data")
SIPAKMED = ("--dataset=sipakmed/single_cell", "--manual_dir={tmp}/raw", "--data_dir={tmp}/data")
HERLEV = ("--dataset=herlev/default", "--manual_dir={tmp}/raw", "--data_dir={tmp}/data")
PICTURE = encoded(noise(7), "PNG")
LONG = "/".join(["n" * 60] * 5) + "/x.png"


def _refused(id_: str, change, *expected: str, args=ARGS, make=tree, command="prepare") -> Case:
    """A tree, changed."""
    return Case(id_, command, args, expected, lambda tmp: change(make(tmp)))


def _named(id_: str, name: str) -> Case:
    """An image of a strange name, which is stored like any other."""

    def handled(done: Done):
        assert (stored(done, name) == noise(7)).all()

    return Case(id_, "prepare", ARGS, make=lambda tmp: tree(tmp, (name, PICTURE)), handled=handled)


def _counted(id_: str, change, count: int, args=ARGS, make=tree) -> Case:
    """A tree, changed, of which so many images are taken."""

    def handled(done: Done):
        assert f"{count} examples" in done.out

    return Case(id_, "prepare", args, make=lambda tmp: change(make(tmp)), handled=handled)


def _loop(path: Path) -> None:
    path.symlink_to(path)


def _not_utf8(raw: Path) -> None:
    with open(os.fsencode(raw / "A") + b"/\xff\xfe.png", "wb") as file:
        file.write(PICTURE)


def _cell(raw: Path, name: str = "001_02.bmp") -> Path:
    return raw / "im_Parabasal" / "CROPPED" / name


def _replace(path: Path, how) -> None:
    path.unlink()
    how(path)


@contextlib.contextmanager
def _unlistable():
    """Nobody may list a folder "A"; permissions do not stop the superuser, who runs some tests."""
    listed = Path.iterdir

    def iterdir(path: Path):
        if path.name == "A":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return listed(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "iterdir", iterdir)
        yield


CASES = [
    Case(
        "a folder that may not be listed",
        "prepare",
        ARGS,
        ("{tmp}/raw/A", "cannot be listed"),
        tree,
        around=_unlistable,
    ),
    Case("a folder that is not there", "prepare", ARGS, ("manual_dir={tmp}/raw", "does not exist")),
    Case(
        "a folder of a user who is not there",
        "prepare",
        (*ARGS[:1], "--manual_dir=~nobody_of_this_name/x"),
        ("~nobody_of_this_name", "no such user"),
    ),
    Case(
        "a folder whose name is too long",
        "prepare",
        (*ARGS[:1], f"--manual_dir={'x' * 300}"),
        ("File name too long",),
    ),
    Case(
        "a folder whose name is no Unicode",
        "prepare",
        (*ARGS[:1], "--manual_dir={tmp}/\udcff"),
        ("\\udcff", "is not a valid Unicode path"),
    ),
    Case(
        "a file for a folder",
        "prepare",
        ARGS,
        ("manual_dir={tmp}/raw", "is not a folder"),
        lambda tmp: write(tmp / "raw", ""),
    ),
    Case("an empty folder", "prepare", ARGS, ("{tmp}/raw",), lambda tmp: (tmp / "raw").mkdir()),
    Case("no folder given", "prepare", ARGS[::2], ("give manual_dir",)),
    _refused("one class only", lambda raw: shutil.rmtree(raw / "B"), "one class, A"),
    _refused(
        "an empty class", lambda raw: (raw / "C").mkdir(), "{tmp}/raw/C", "contains no images"
    ),
    _refused("a class with notes only", lambda raw: write(raw / "C/notes.txt", "x"), "{tmp}/raw/C"),
    _refused(
        "a class unpacked into itself",
        lambda raw: shutil.copytree(raw / "A", raw / "A/A"),
        "A/1.png",
        "A/A/1.png",
        "are duplicates",
    ),
    _refused(
        "a class in another class",
        lambda raw: write(raw / "A/B/3.png", PICTURE),
        "{tmp}/raw/A/B",
        "move it out",
    ),
    _refused(
        "classes that differ by case",
        lambda raw: write(raw / "a/3.png", PICTURE),
        "A, a",
        "case only",
    ),
    _refused(
        "images beside no class",
        lambda raw: [shutil.rmtree(raw / n) for n in "AB"] + [write(raw / "1.png", PICTURE)],
        "{tmp}/raw",
    ),
    _counted(
        "masks among images",
        lambda raw: [
            write(raw / f"A/{n}", PICTURE) for n in ("1_mask.png", "2-d.png", "masks/1.png")
        ],
        4,
    ),
    _refused(
        "a mask among images",
        lambda raw: write(raw / "A/x.png", encoded(noise(1)[..., 0] // 200 * 255, "PNG")),
        "{tmp}/raw/A/x.png",
        "mask",
    ),
    _counted("a folder called x.jpg", lambda raw: write(raw / "A/x.jpg/3.png", PICTURE), 5),
    _counted("an empty folder called x.jpg", lambda raw: (raw / "A/x.jpg").mkdir(), 4),
    _refused(
        "a pipe called x.png",
        lambda raw: os.mkfifo(raw / "A/x.png"),
        "{tmp}/raw/A/x.png",
        "is not a file",
    ),
    _refused(
        "a link in a circle",
        lambda raw: _loop(raw / "A/x.png"),
        "{tmp}/raw/A/x.png",
        "is not a file",
    ),
    _refused(
        "a link to nowhere",
        lambda raw: (raw / "A/x.png").symlink_to(raw / "gone.png"),
        "{tmp}/raw/A/x.png",
        "broken link",
    ),
    _refused(
        "a folder linked into itself",
        lambda raw: (raw / "A/x").symlink_to(raw / "A"),
        "remove a link to a parent folder",
    ),
    _counted("a class that is a link in a circle", lambda raw: _loop(raw / "C"), 4),
    _counted("a link to an image", lambda raw: (raw / "A/x.png").symlink_to(raw / "B/1.png"), 5),
    _named("a name in Unicode", "A/子宮頸部 ñ 🔬.png"),
    _named("a name of two lines", "A/two\nlines.png"),
    _named("a name with spaces", "A/ a  b .png"),
    _named("a name with quotes and commas", 'A/a",b;c.png'),
    _named("a path of 300 characters", f"A/{LONG}"),
    _refused("a name that is no Unicode", _not_utf8, "A/\\udcff\\udcfe.png"),
    _refused(
        "a class of two lines", lambda raw: write(raw / "C\nD/3.png", PICTURE), "unusual characters"
    ),
    _refused(
        "a name that clears the screen",
        lambda raw: write(raw / "A/\x1b[2J.png", b""),
        "A/\\x1b[2J.png",
    ),
    _refused(
        "SIPaKMeD without a class",
        lambda raw: shutil.rmtree(raw / "im_Parabasal"),
        "no folder im_Parabasal",
        args=SIPAKMED,
        make=sipakmed_tree,
    ),
    _refused(
        "SIPaKMeD without most images",
        lambda raw: None,
        "im_Parabasal has 2, expected 787",
        args=SIPAKMED,
        make=sipakmed_tree,
    ),
    _refused(
        "SIPaKMeD nested, with both copies",
        lambda raw: shutil.copytree(raw / "im_Parabasal", raw / "im_Parabasal/im_Parabasal"),
        "im_Parabasal/CROPPED/001_01.bmp",
        "are duplicates",
        args=SIPAKMED,
        make=sipakmed_tree,
    ),
    _refused(
        "SIPaKMeD with a pipe",
        lambda raw: _replace(_cell(raw), os.mkfifo),
        "CROPPED/001_02.bmp",
        "is not a file",
        args=(*SIPAKMED, "--nocheck_counts"),
        make=sipakmed_tree,
    ),
    _refused(
        "SIPaKMeD with a link to nowhere",
        lambda raw: _replace(_cell(raw), lambda p: p.symlink_to("gone")),
        "CROPPED/001_02.bmp",
        "broken link",
        args=(*SIPAKMED, "--nocheck_counts"),
        make=sipakmed_tree,
    ),
    _refused(
        "a contour that is a pipe",
        lambda raw: [os.mkfifo(_cell(raw, f"001_02_{kind}.dat")) for kind in ("cyt", "nuc")],
        "001_02_cyt.dat",
        "is not a file",
        args=(*SIPAKMED, "--nocheck_counts"),
        make=sipakmed_tree,
    ),
    _refused(
        "a contour that is text",
        lambda raw: [
            write(_cell(raw, f"001_02_{kind}.dat"), "one,two\n") for kind in ("cyt", "nuc")
        ],
        "001_02_cyt.dat",
        "line 1",
        args=(*SIPAKMED, "--nocheck_counts"),
        make=sipakmed_tree,
    ),
    _refused(
        "a contour of 100,000 points",
        lambda raw: [
            write(_cell(raw, f"001_02_{kind}.dat"), "1,1\n2,2\n" * 50_000)
            for kind in ("cyt", "nuc")
        ],
        "001_02_cyt.dat",
        "points",
        args=(*SIPAKMED, "--nocheck_counts"),
        make=sipakmed_tree,
    ),
    _refused(
        "archives that were not unpacked",
        lambda raw: (
            [shutil.rmtree(p) for p in raw.iterdir()] + [write(raw / "im_Parabasal.7z", "")]
        ),
        "unpack every .7z archive",
        args=SIPAKMED,
        make=sipakmed_tree,
    ),
    _refused(
        "Herlev is another data set", lambda raw: None, "no folder normal_superficiel", args=HERLEV
    ),
    _refused(
        "CRIC without annotations",
        lambda raw: shutil.rmtree(raw / "B"),
        "classifications.csv",
        args=("--dataset=cric/cell", "--manual_dir={tmp}/raw", "--data_dir={tmp}/data"),
    ),
    _refused(
        "audit of an empty class",
        lambda raw: (raw / "C").mkdir(),
        "{tmp}/raw/C",
        args=ARGS,
        command="audit",
    ),
    Case(
        "a data set that is not prepared",
        "audit",
        ("--dataset=sipakmed/single_cell", "--data_dir={tmp}/data"),
        ("sipakmed/single_cell is not prepared", "manual_dir"),
    ),
]
