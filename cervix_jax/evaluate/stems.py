"""Stems of an evaluation's file names: the split, and the way of predicting."""

from typing import NamedTuple

TTA = "_tta"
ADAPTED = {"all": "_adapted", "group": "_group_adapted"}


class Stem(NamedTuple):
    """The parts of a stem.

    Attributes:
      split: "train", "val", "test" or "external".
      tta: whether predictions are means over 8 symmetries.
      adapt: one of `runs.adaptation.WAYS` if batch statistics come from the examples, else "".
    """

    split: str
    tta: bool
    adapt: str


def stem_of(split: str, *, tta: bool = False, adapt: str = "") -> str:
    """The stem of a split and a way of predicting."""
    return split + (TTA if tta else "") + ADAPTED.get(adapt, "")


def parse_stem(stem: str) -> Stem:
    """The arguments of `stem_of` that give a stem."""
    adapt = ""
    for way, ending in sorted(ADAPTED.items(), key=lambda item: -len(item[1])):
        if stem.endswith(ending):
            stem, adapt = stem.removesuffix(ending), way
            break
    return Stem(stem.removesuffix(TTA), stem.endswith(TTA), adapt)
