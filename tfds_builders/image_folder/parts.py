"""Folders that divide images into train, test and so on, and therefore are no classes."""

import re
from pathlib import Path

from cervix_jax.files import folders
from cervix_jax.files.images import is_image
from cervix_jax.files.paths import nfc

_TRAIN, _TEST, _FOLD = "train", "test", "fold"
# "train" also covers validation: no class has such a name, while a class may be named "test".
_KINDS = {
    **dict.fromkeys(("train", "training", "trn", "trainval"), _TRAIN),
    **dict.fromkeys(("val", "valid", "validate", "validation", "development"), _TRAIN),
    **dict.fromkeys(("test", "testing", "tst", "dev", "holdout", "eval", "evaluation"), _TEST),
    **dict.fromkeys(("fold", "split", "cv"), _FOLD),
}
# Words that archives add to these names.
_FILLING = frozenset(
    ("aug", "augmented", "cell", "cells", "crop", "cropped", "crops", "data", "dataset", "files",
     "folder", "images", "image", "img", "imgs", "labeled", "labelled", "new", "original", "part",
     "patches", "pictures", "raw", "resized", "seg", "segmented", "set", "sets", "splits", "subset",
     "tiles")
)  # fmt: skip
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_JOINED = re.compile(r"(.+?)(?:data|dataset|images?|imgs?|sets?)")


def kind_of(name: str) -> str:
    """Return the part that a folder name means: "train", "test" or "fold"; "" for a class."""
    words = [word.casefold() for word in _WORD.findall(name)]
    if "".join(words) != re.sub(r"[\W_]", "", name).casefold():
        return ""  # letters of other alphabets
    kinds = []
    for word in words:
        joined = _JOINED.fullmatch(word)
        kind = _KINDS.get(word) or _KINDS.get(joined[1] if joined else "")
        if kind:
            kinds.append(kind)
        elif word not in _FILLING and not word.isdecimal():
            return ""
    if kinds and set(kinds) == {_FOLD} and not any(word.isdecimal() for word in words):
        return ""
    return kinds[0] if kinds else ""


def parts_of(inner: list[Path]) -> list[Path]:
    """Return the subfolders that divide the images of a folder; empty if they are classes.

    They are at least two folders with such names, or one: for training or validation with folders
    in it, or with folders named like those beside it.
    """
    named = [folder for folder in inner if kind_of(folder.name)]
    if len(named) != 1:
        return named
    below = {nfc(folder.name) for folder in folders.subfolders(named[0])}
    beside = {nfc(folder.name) for folder in inner}
    trains = kind_of(named[0].name) == _TRAIN and below and not _has_images(named[0])
    return named if trains or below & beside else []


def inside(part: Path) -> Path:
    """Return the folder of a part's class folders: archives often nest a part in itself."""
    below = folders.subfolders(part)
    while len(below) == 1 and _only_names_a_part(below[0].name) and not _has_images(part):
        part = below[0]
        below = folders.subfolders(part)
    return part


def _only_names_a_part(name: str) -> bool:
    words = {word.casefold() for word in _WORD.findall(name)}
    return bool(kind_of(name)) or (bool(words) and words <= _FILLING)


def _has_images(folder: Path) -> bool:
    return any(is_image(path) for path in folders.entries(folder))
