"""Evaluated images that the run was trained, validated or tested on, recognised by their pixels.

A digest of the pixels finds exact copies. Perceptual hashes and thumbnails find copies that were
recompressed, scaled or rotated (`cervix_jax.data.duplicates`).
"""

import csv
import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cervix_jax.data.duplicates import POSES, find_duplicates
from cervix_jax.data.fingerprints import Fingerprints
from cervix_jax.data.identity import MADE_WITH
from cervix_jax.data.splits import SPLITS, groups_known
from cervix_jax.files.atomic import write_text
from cervix_jax.runs.run import Run

COLUMNS = ("filename", "kind", "split", "like", "distance", "correlation", "pose")
INHERITED = "an image of the run that the weights started from"
NOT_RECORDED = (
    "unknown: the run was written by an earlier version, which did not record its images; train it "
    "again to compare them"
)


@dataclasses.dataclass(frozen=True)
class Copy:
    """A pair of an evaluated image and its copy among the run's images.

    Attributes:
      row: position of the evaluated image.
      split: split of the run's image.
      like: name of the run's image.
      exact: whether all pixels are equal.
      distance: number of differing bits, of 256, between the perceptual hashes.
      correlation: correlation of the grey thumbnails, at most 1.
      pose: rotation or reflection that maps the run's image to the evaluated one.
    """

    row: int
    split: str
    like: str
    exact: bool
    distance: int
    correlation: float
    pose: str


@dataclasses.dataclass(frozen=True)
class Seen:
    """Overlap of N evaluated images with those of a run.

    Attributes:
      why: reason if the overlap is unknown; else "".
      copies: pairs of copies; an image may occur several times.
      in_group: {split: bool [N]}, whether the group of an image also occurs in that split of the
        run: by name in the run's own data, or because another image of the group is a copy of one
        of the run's images; empty if neither can be determined.
      namesakes: bool [N], whether a group of other data merely has the name of a group of the
        run's training or validation data.
      run_groups_known: whether the groups of the run's images are known.
      near: whether near duplicates were searched for.
      repeated: number of images that are copies of others of the N.
      count: N.
    """

    why: str
    copies: tuple[Copy, ...]
    in_group: dict[str, np.ndarray]
    namesakes: np.ndarray
    run_groups_known: bool
    near: bool
    repeated: int
    count: int

    @property
    def known(self) -> bool:
        """Whether the overlap is known."""
        return not self.why

    def rows(self, *splits: str, exact: bool | None = None) -> np.ndarray:
        """Bool [N]: images with a copy in one of the given splits of the run.

        Args:
          *splits: "train", "val" or "test".
          exact: True counts exact copies only, False near duplicates only; None counts both.
        """
        found = np.zeros(self.count, bool)
        for copy in self.copies:
            if copy.split in splits and exact in (None, copy.exact):
                found[copy.row] = True
        return found

    def leaked(self, *splits: str) -> np.ndarray:
        """Bool [N]: images that, or whose group, occur in the given splits of the run."""
        found = self.rows(*splits)
        for split in splits:
            found |= self.in_group.get(split, False)
        return found

    def to_json(self) -> dict[str, Any]:
        """Counts of images, JSON-ready."""
        if not self.known:
            return {"known": False, "why": self.why, "repeated": self.repeated}

        def near(split: str) -> np.ndarray:
            return self.rows(split, exact=False) & ~self.rows(split, exact=True)

        exact, copied = self.rows(*MADE_WITH, exact=True), self.rows(*MADE_WITH)
        leaked = self.leaked(*MADE_WITH)
        return {
            "known": True,
            "why": "",
            "images": int(leaked.sum()),
            # Count each image once, as its most certain kind: it may resemble several of the run.
            "made_with": {
                "exact": int(exact.sum()),
                "near": int((copied & ~exact).sum()),
                "same_group": int((leaked & ~copied).sum()),
            },
            "exact": {s: int(self.rows(s, exact=True).sum()) for s in SPLITS},
            "near": {s: int(near(s).sum()) for s in SPLITS} if self.near else None,
            "same_group": {s: int(rows.sum()) for s, rows in self.in_group.items()} or None,
            "run_groups_known": self.run_groups_known,
            "groups_called_alike": int(self.namesakes.sum()),
            "repeated": self.repeated,
        }

    def write(self, path: Path, filenames: Sequence[str]) -> None:
        """Write the copies to a CSV file; without copies, remove the file of an earlier run."""
        if not self.copies:
            path.unlink(missing_ok=True)
            return
        text = io.StringIO(newline="")
        rows = csv.writer(text)
        rows.writerow(COLUMNS)
        for copy in self.copies:
            kind = "exact" if copy.exact else "near"
            rows.writerow(
                [filenames[copy.row], kind, copy.split, copy.like, copy.distance,
                 f"{copy.correlation:.4f}", copy.pose]
            )  # fmt: skip
        write_text(path, text.getvalue())


def unknown(why: str, count: int) -> Seen:
    """The result for `count` images when the overlap is unknown, with the reason `why`."""
    return Seen(why, (), {}, np.zeros(count, bool), False, near=False, repeated=0, count=count)


def seen_by(
    run: Run,
    prints: Fingerprints,
    filenames: Sequence[str],
    groups: Sequence[str],
    *,
    same_data: bool,
) -> Seen:
    """Compare images with those of a run's own data.

    Args:
      run: the trained run.
      prints: fingerprints of N images.
      filenames: N names.
      groups: N names of groups.
      same_data: whether the images are from the run's own data, so that equal names mean equal
        groups.
    """
    count = len(prints)
    repeated = count - len(set(prints.digests))
    identity = run.identity
    if identity is None:
        return dataclasses.replace(unknown(NOT_RECORDED, count), repeated=repeated)
    kept = run.fingerprints()
    if kept is None:  # the checkpoint has the digests, but not the perceptual hashes
        pairs = _exact(prints.digests, identity.digests)
    else:
        pairs = [
            (p.first, p.second, p.exact, p.distance, p.correlation, p.pose)
            for p in find_duplicates(prints, kept)
        ]
    copies = tuple(
        Copy(row, str(identity.splits[like]), identity.filenames[like], exact, bits, alike, pose)
        for row, like, exact, bits, alike, pose in pairs
    )
    inherited = frozenset(identity.inherited)
    copies += tuple(
        Copy(row, "train", INHERITED, True, 0, 1.0, POSES[0])
        for row, digest in enumerate(prints.digests)
        if digest in inherited
    )
    in_group: dict[str, np.ndarray] = {}
    namesakes = np.zeros(count, bool)
    own_known = groups_known(identity.filenames, identity.groups)
    if groups_known(filenames, groups):
        asked, own = np.asarray(groups, str), np.asarray(identity.groups, str)
        if own_known and same_data:
            in_group = {s: np.isin(asked, own[identity.splits == s]) for s in SPLITS}
        elif own_known:
            namesakes = np.isin(asked, own[np.isin(identity.splits, MADE_WITH)])
        if copies:
            for split in SPLITS:  # the group of a copy counts as the group of the run's image
                rows = [copy.row for copy in copies if copy.split == split]
                found = np.isin(asked, asked[rows])
                in_group[split] = found | in_group.get(split, False)
            namesakes &= ~(in_group["train"] | in_group["val"])
    return Seen("", copies, in_group, namesakes, own_known, kept is not None, repeated, count)


def _exact(
    digests: Sequence[str], reference: Sequence[str]
) -> list[tuple[int, int, bool, int, float, str]]:
    places: dict[str, list[int]] = {}
    for place, digest in enumerate(reference):
        places.setdefault(digest, []).append(place)
    return [
        (row, place, True, 0, 1.0, POSES[0])
        for row, digest in enumerate(digests)
        for place in places.get(digest, ())
    ]
