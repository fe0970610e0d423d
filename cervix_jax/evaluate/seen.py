"""Which images of an evaluation the run was made with: found by their pixels, whatever their names.

A digest of the pixels finds exact copies; perceptual hashes and thumbnails find those that were
recompressed, scaled or turned (`cervix_jax.data.duplicates`).
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
    "again to have them compared"
)


@dataclasses.dataclass(frozen=True)
class Copy:
    """An image that the run has, too.

    Attributes:
      row: its position among the evaluated images.
      split: of the run's image.
      like: name of the run's image.
      exact: whether all pixels are the same.
      distance: differing bits of 256 of the perceptual hashes.
      correlation: of the grey thumbnails, at most 1.
      pose: how the run's image must be moved to look like it.
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
    """What a run has seen of N images.

    Attributes:
      why: why it is not known; "" where it is.
      copies: of images of the run, the same image perhaps several times.
      in_group: {split: bool [N]}, whether the group of an image is also in that split of the run:
        by its name in the run's own data, or because another image of the group is a copy of one
        of the run; empty where neither can be seen.
      namesakes: bool [N], whether the group of an image is only called like one that the run was
        made with, in other data.
      run_groups_known: whether the groups of the run's images are known.
      near: whether near duplicates were looked for, too.
      repeated: how many of the images are copies of others of the N.
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
        """Whether it is known."""
        return not self.why

    def rows(self, *splits: str, exact: bool | None = None) -> np.ndarray:
        """Bool [N]: images with a copy in one of the splits of the run.

        Args:
          *splits: "train", "val" or "test".
          exact: only exact copies, or only those that are not; None counts both.
        """
        found = np.zeros(self.count, bool)
        for copy in self.copies:
            if copy.split in splits and exact in (None, copy.exact):
                found[copy.row] = True
        return found

    def leaked(self, *splits: str) -> np.ndarray:
        """Bool [N]: images that the run has seen in these splits, or others of their group."""
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
            # Each image once, by the surest kind: one may be like several of the run.
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
        """List the copies in a CSV file; without any, remove that of an earlier evaluation."""
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
    """Nothing is known of `count` images, for the reason `why`."""
    return Seen(why, (), {}, np.zeros(count, bool), False, near=False, repeated=0, count=count)


def seen_by(
    run: Run,
    prints: Fingerprints,
    filenames: Sequence[str],
    groups: Sequence[str],
    *,
    same_data: bool,
) -> Seen:
    """Compare images with those that a run was made with.

    Args:
      run: the trained run.
      prints: of N images.
      filenames: N names.
      groups: N names of groups.
      same_data: whether the groups are those of the run's own data, so that equal names are equal
        groups.
    """
    count = len(prints)
    repeated = count - len(set(prints.digests))
    identity = run.identity
    if identity is None:
        return dataclasses.replace(unknown(NOT_RECORDED, count), repeated=repeated)
    kept = run.fingerprints()
    if kept is None:  # the digests are in the checkpoint, the hashes are not
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
            for split in SPLITS:  # what shares a group with a copy shares it with the run's image
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
