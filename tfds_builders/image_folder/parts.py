"""Folders that divide images into train, test and so on, which are no classes."""

import re
from pathlib import Path

from cervix_jax.files import folders
from cervix_jax.files.images import is_image
from cervix_jax.files.paths import nfc

_TRAIN, _TEST, _FOLD = "train", "test", "fold"
# "train" also stands for validation: no class is called so, while a class may be called "test".
_KINDS = {
    **dict.fromkeys(("train", "training", "trn", "trainval"), _TRAIN),
    **dict.fromkeys(("val", "valid", "validate", "validation", "development"), _TRAIN),
    **dict.fromkeys(("test", "testing", "tst", "dev", "holdout", "eval", "evaluation"), _TEST),
    **dict.fromkeys(("fold", "split", "cv"), _FOLD),
}
# Words that archives add to them.
_FILLING = frozenset(
    ("aug", "augmented", "cell", "cells", "crop", "cropped", "crops", "data", "dataset", "files",
     "folder", "images", "image", "img", "imgs", "labeled", "labelled", "new", "original", "part",
     "patches", "pictures", "raw", "resized", "seg", "segmented", "set", "sets", "splits", "subset",
     "tiles")
)  # fmt: skip
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_JOINED = re.compile(r"(.+?)(?:data|dataset|images?|imgs?|sets?)")


def kind_of(name: str) -> str:
    """What part of a division a folder's name means: "train", "test" or "fold"; "" for a class."""
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
    """Those of the folders in a folder that divide its images; none where they are classes.

    Two folders named so, or one: of training or validation with folders in it, or with folders of
    the names of those beside it.
    """
    named = [folder for folder in inner if kind_of(folder.name)]
    if len(named) != 1:
        return named
    below = {nfc(folder.name) for folder in folders.subfolders(named[0])}
    beside = {nfc(folder.name) for folder in inner}
    trains = kind_of(named[0].name) == _TRAIN and below and not _has_images(named[0])
    return named if trains or below & beside else []


def inside(part: Path) -> Path:
    """The folder of the class folders of a part: archives often pack a part into itself."""
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
