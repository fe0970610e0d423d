"""Slides and fields whose cells cannot be found."""

import contextlib
import sys
from collections.abc import Callable
from pathlib import Path

import make_slides
import numpy as np
import pytest
from bad_case import Case, Done
from bad_files import write
from bad_outputs import full_disk
from bad_predictions import OUT, RAW, RUN, predicted
from drawn_nuclei import draw, glass, scattered

WIDTH, HEIGHT = 300, 200
CELLS = ("--field=cells", "--detector=blobs", "--crop=24")
PIXELS = draw(scattered(WIDTH, HEIGHT, 8), WIDTH, HEIGHT)


def _slide(path: Path, pixels: np.ndarray = PIXELS, mpp: object = 0.5) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return make_slides.aperio(path, make_slides.pyramid(pixels, (1, 2)), mpp)


def _cut(path: Path) -> None:
    content = _slide(path).read_bytes()
    path.write_bytes(content[: len(content) // 2])


def _tags(path: Path, mpp: float) -> None:
    make_slides.generic(path, make_slides.pyramid(PIXELS), mpp)


STRANGE: dict[str, Callable[[Path], object]] = {
    "text.svs": lambda path: write(path, "no slide"),
    "empty.ndpi": lambda path: write(path, b""),
    "cut.svs": _cut,
    "unknown.svs": lambda path: _slide(path, mpp=None),
    "printed.tif": lambda path: _tags(path, 352.8),  # 72 dots per inch
    "oblong.tif": lambda path: make_slides.generic(path, make_slides.pyramid(PIXELS), (0.25, 0.5)),
    "glass.svs": lambda path: _slide(path, glass(WIDTH, HEIGHT)),
    "scan/1.dcm": lambda path: write(path, b"\0" * 128 + b"DICM"),
}
SAID = {
    "text.svs": ("is not a slide",),
    "empty.ndpi": ("is not a slide",),
    "cut.svs": ("is ",),
    "unknown.svs": ("does not state its pixel size", "--mpp=0.25"),
    "printed.tif": ("352.8 micrometres per pixel", "--mpp=0.25"),
    "oblong.tif": ("are not square", "--mpp=0.25"),
    "glass.svs": ("is empty: it has no stained area",),
    "scan/1.dcm": ("is a folder whose .dcm files are not a whole-slide image",),
}


def _raw(name: str) -> Callable[[Path], object]:
    def make(tmp: Path) -> None:
        path = tmp / "raw" / name
        path.parent.mkdir(parents=True)
        STRANGE[name](path)

    return make


def _good(tmp: Path) -> None:
    _slide(tmp / "raw" / "good.svs")


def _all(tmp: Path) -> None:
    """Two good slides among all that are none."""
    for name in STRANGE:
        _raw(name)(tmp / name.replace("/", "_"))
    _good(tmp)
    _slide(tmp / "raw" / "good" / "good.svs")


@contextlib.contextmanager
def _without_openslide():
    """As where the extra `slides` was not installed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "openslide", None)
        yield


def _cells(id_: str, *args: str, expected=(), make=_good, **fields) -> Case:
    return Case(f"cells: {id_}", "predict", (RUN, OUT, *args), expected, make, **fields)


def _one(id_: str, *args: str, expected: tuple[str, ...], **fields) -> Case:
    return _cells(id_, RAW, *CELLS, *args, expected=expected, **fields)


def _both_slides(done: Done):
    predicted(16, len(STRANGE))(done)
    reasons = (done.folder / "p_skipped.csv").read_text()
    for parts in SAID.values():
        for part in parts:
            assert part in reasons
    assert len((done.folder / "p_fields.csv").read_text().splitlines()) == 3
    assert len(list((done.folder / "p").iterdir())) == 4


CASES = [
    _cells("a slide that is text", "{tmp}/raw/text.svs", "--strict", *CELLS,
           make=_raw("text.svs"), expected=("{tmp}/raw/text.svs", "is not a slide")),
    *(
        _one(name, "--strict", make=_raw(name), expected=("{tmp}/raw", *SAID[name]))
        for name in STRANGE if name != "text.svs"
    ),
    _cells(
        "two slides among much that is none",
        *(f"{{tmp}}/{name.replace('/', '_')}" for name in STRANGE), RAW, *CELLS,
        make=_all, handled=_both_slides,
    ),
    _one("no OpenSlide", "--strict", expected=("pip install 'cervix_jax[slides]'",),
         around=_without_openslide),
    *(
        _one(flag, flag, expected=tuple(expected))
        for flag, *expected in (
            ("--mpp=20", "--mpp=20", "0.05 to 10"), ("--mpp=nan", "--mpp=nan"),
            ("--mpp=-0.25", "--mpp=-0.25"), ("--min_nucleus=2", "--min_nucleus=2"),
            ("--min_nucleus=nan", "--min_nucleus=nan"), ("--crop=-1", "--crop=-1"),
            ("--detector={run}", "--detector={tmp}/run", "does not detect nuclei"),
            ("--detector={tmp}/none", "--detector={tmp}/none", "configs/nuclei.py"),
            ("--detector={tmp}/raw", "{tmp}/raw"),
            ("--window=9", "--window", "--field=window"),
            ("--positions=x.csv", "--positions", "--field=nuclei"),
            ("--overlay=x", "--overlay"), ("--group=parent", "--group"),
            ("--overlap=0.2", "--overlap", "--field=cells"),
            ("--heatmap=classes", "--heatmap", "--field=cells"),
            ("--out={tmp}/raw/good.svs/p.csv", "{tmp}/raw/good.svs"),
            ("--maps={tmp}/raw/good.svs/maps", "--maps={tmp}/raw/good.svs/maps"),
        )
    ),
    _cells("a run without one field of view", RAW, *CELLS[:2],
           expected=("--crop is missing", "data.resize=scale")),
    _one("a full disk", expected=("{tmp}/p.csv", "File too large"), around=lambda: full_disk(100)),
    Case("cells: a detector without slides", "predict", (RUN, OUT, RAW, "--detector=blobs"),
         ("--detector", "--field=cells"), _good),
]  # fmt: skip
