"""Whether runs that are compared or joined were tested on the same images, and trained on others.

Names do not show it: an image may have been replaced under its name, or been another run's training
image under another name. The digests of the pixels that checkpoints keep do.
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

# Splits that must be new to a model, each with those that it was made with.
NEW_TO = {"test": ("train", "val"), "val": ("train",)}


def check_members(paths: Sequence[str | Path], sides: Sequence[Side], stem: str) -> None:
    """See that runs were tested on the same images, and that none was made with them.

    What is known of no run (a file of predictions, a run of an earlier version) is not compared.

    Args:
      paths: runs, cross-validations or files of predictions.
      sides: their predictions, in the same order.
      stem: how the names of the files begin, "test" or "test_tta".

    Raises:
      InputError: the images of one name are not the same, or one of the runs was trained on images
        that others were tested on.
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
        if len(recorded) > 1 and len(names) == 1:  # other names are refused where they are joined
            check_tested(recorded, NEW_TO.get(split, ()))


def check_tested(
    runs: Mapping[str, tuple[Sequence[str], DataIdentity]], made_with: Sequence[str]
) -> None:
    """Compare the images of several runs; arguments by name of the run.

    Args:
      runs: names of the images that a run predicted, and the examples that it was made with.
      made_with: splits whose images must not be among the predicted ones; none asks for nothing.

    Raises:
      InputError: see `check_members`.
    """
    digests = {name: _digests(files, identity) for name, (files, identity) in runs.items()}
    (first, expected), *others = digests.items()
    for name, found in others:
        changed = sorted(f for f in expected.keys() & found.keys() if expected[f] != found[f])
        if changed:
            raise InputError(
                f"{first} and {name} were tested on other images under the same names: "
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
                f"{name} was trained on {len(more)} of the images that it is compared or joined on "
                f"({more[0]} first), others were not; give runs of one division into training and "
                "test."
            )
    if same:
        say_once(
            f"{len(same)} of the images have copies among the training images of every run here "
            f"({min(pixels[digest] for digest in same)} first), so all of them look better than "
            "they are."
        )


def _digests(files: Sequence[str], identity: DataIdentity) -> dict[str, str]:
    known = dict(zip(identity.filenames, identity.digests, strict=True))
    return {file: known[file] for file in files if file in known}


def _identities(path: str | Path, stem: str) -> dict[Member, DataIdentity | None]:
    """The examples of the runs whose predictions lie below a path; none of a file."""
    found = {
        member: read_recorded(folder)
        for member, folder in members_of(Path(path), f"{stem}{SUFFIX}").items()
    }
    return {member: kept[1] if kept else None for member, kept in found.items()}
