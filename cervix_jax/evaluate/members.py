"""Checks on runs that are compared or averaged: same test images, none of them trained on.

File names cannot show this: an image may have been replaced under its name, or may be a training
image of another run under another name. The pixel digests stored in checkpoints show it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from cervix_jax.data.identity import DataIdentity
from cervix_jax.errors import InputError
from cervix_jax.evaluate.predictions_file import SUFFIX
from cervix_jax.evaluate.sides import members_of
from cervix_jax.evaluate.stems import parse_stem
from cervix_jax.runs.own_data import read_recorded, say_once
from cervix_jax.statistics.side_by_side import Member, Side

# Splits that must be new to the model, and the splits that it was trained or validated on.
NEW_TO = {"test": ("train", "val"), "val": ("train",)}


def check_members(paths: Sequence[str | Path], sides: Sequence[Side], stem: str) -> None:
    """Check that runs were tested on the same images, and that none was trained on them.

    Runs without stored digests (files of predictions, runs of earlier versions) are not checked.

    Args:
      paths: runs, cross-validations or files of predictions.
      sides: their predictions, in the same order.
      stem: stem of the file names, "test" or "test_tta".

    Raises:
      InputError: images with the same name differ, or a run was trained on images that others were
        tested on.
    """
    split = parse_stem(stem).split
    known = [_identities(path, stem) for path in paths]
    for fold in sorted({fold for side in sides for _, fold in side.tables}):
        tested = {
            f"{side.name}/seed{seed}/fold{own}" if len(side.tables) > 1 else side.name: (
                side.tables[seed, own].filenames, identities.get((seed, own))
            )
            for side, identities in zip(sides, known, strict=True)
            for seed, own in side.tables
            if own == fold
        }  # fmt: skip
        recorded = {name: (files, found) for name, (files, found) in tested.items() if found}
        names = {frozenset(files) for files, _ in tested.values()}
        if len(recorded) > 1 and len(names) == 1:  # differing names are refused at the join
            check_tested(recorded, NEW_TO.get(split, ()))


def check_tested(
    runs: Mapping[str, tuple[Sequence[str], DataIdentity]], made_with: Sequence[str]
) -> None:
    """Compare the images of several runs; mappings are keyed by the run's name.

    Args:
      runs: names of the images that a run predicted, and the examples of its own data.
      made_with: splits that must not contain predicted images; if empty, nothing is required.

    Raises:
      InputError: see `check_members`.
    """
    digests = {name: _digests(files, identity) for name, (files, identity) in runs.items()}
    (first, expected), *others = digests.items()
    for name, found in others:
        changed = sorted(f for f in expected.keys() & found.keys() if expected[f] != found[f])
        if changed:
            raise InputError(
                f"{first} and {name} were tested on different images with the same names: "
                f"{len(changed)} have other pixels ({changed[0]} first); compare runs of the same "
                "images."
            )
    if not made_with:
        return
    pixels = {digest: file for found in digests.values() for file, digest in found.items()}
    seen = {
        name: pixels.keys() & (identity.digests_of(*made_with) | frozenset(identity.inherited))
        for name, (_, identity) in runs.items()
    }
    same = frozenset.intersection(*map(frozenset, seen.values()))
    for name, found in seen.items():
        if more := sorted(pixels[digest] for digest in found - same):
            raise InputError(
                f"{name} was trained on {len(more)} of the images on which the runs are compared "
                f"or averaged ({more[0]} first), and other runs were not; give runs with the same "
                "split into training and test."
            )
    if same:
        say_once(
            f"{len(same)} of the images have copies among the training images of every run "
            f"({min(pixels[digest] for digest in same)} first), so the results of all runs are too "
            "optimistic."
        )


def _digests(files: Sequence[str], identity: DataIdentity) -> dict[str, str]:
    known = dict(zip(identity.filenames, identity.digests, strict=True))
    return {file: known[file] for file in files if file in known}


def _identities(path: str | Path, stem: str) -> dict[Member, DataIdentity | None]:
    """Examples of the runs below a path with predictions; empty for a file."""
    found = {
        member: read_recorded(folder)
        for member, folder in members_of(Path(path), f"{stem}{SUFFIX}").items()
    }
    return {member: kept[1] if kept else None for member, kept in found.items()}
