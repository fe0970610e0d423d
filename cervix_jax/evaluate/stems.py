"""How the names of an evaluation's files begin: the split, and how it was predicted."""

from typing import NamedTuple

TTA = "_tta"
ADAPTED = {"all": "_adapted", "group": "_group_adapted"}


class Stem(NamedTuple):
    """What a stem says.

    Attributes:
      split: "train", "val", "test" or "external".
      tta: whether predictions are means over symmetries.
      adapt: of `runs.adaptation.WAYS` where batch statistics are of the examples, else "".
    """

    split: str
    tta: bool
    adapt: str


def stem_of(split: str, *, tta: bool = False, adapt: str = "") -> str:
    """The stem of a split; those of other ways to predict end on their own."""
    return split + (TTA if tta else "") + ADAPTED.get(adapt, "")


def parse_stem(stem: str) -> Stem:
    """What `stem_of` was given."""
    adapt = ""
    for way, ending in sorted(ADAPTED.items(), key=lambda item: -len(item[1])):
        if stem.endswith(ending):
            stem, adapt = stem.removesuffix(ending), way
            break
    return Stem(stem.removesuffix(TTA), stem.endswith(TTA), adapt)
