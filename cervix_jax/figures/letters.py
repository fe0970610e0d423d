"""Letters that the installed fonts can display, and substitutes for the others."""

import functools
import unicodedata
from collections.abc import Iterable, Sequence

from absl import logging
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

from cervix_jax.files.paths import nfc

LONGEST_NAME = 240  # characters; a longer name is numbered too
# It has a box with the block's name for every letter there is, and shows none.
_NO_LETTERS = "Last Resort"
_said: set[tuple[str, ...]] = set()


def drawable(names: Sequence[str]) -> tuple[str, ...]:
    """Class names as pictures show them.

    A name whose letters no installed font has is numbered, from 1 on in the order of the classes,
    and so is one of more than `LONGEST_NAME` characters. What a number stands for is logged, once.

    Args:
      names: of all classes, in their order.
    """
    shown: list[str] = []
    numbered = []
    for number, name in enumerate(names, 1):
        told = plain(name)
        if not told.strip() or len(told) > LONGEST_NAME or without_font(told) or told in shown:
            told = f"class {number}" if f"class {number}" not in names else f"number {number}"
            numbered.append(f"{told} is {name!r}")
        shown.append(told)
    if numbered and tuple(numbered) not in _said:
        _said.add(tuple(numbered))
        logging.warning(
            "Figures show a number instead of a class name that no installed font can draw "
            "(install one that can, such as Noto Sans) or that is too long: %s.",
            "; ".join(numbered),
        )
    return tuple(shown)


def plain(text: str) -> str:
    """Composed letters (NFC), a space for every sign of control but a line break."""
    return "".join(
        " " if unicodedata.category(letter) == "Cc" and letter != "\n" else letter
        for letter in nfc(text)
    )


def without_font(text: str) -> frozenset[str]:
    """The letters of a text that no installed font has."""
    missing = _missing(_default_font(), frozenset(text))
    return missing - _found(missing)[1] if missing else missing


def letter(figure: Figure) -> None:
    """Give every text of a figure fonts that have its letters, and take it for what it says.

    A dollar is a dollar and no formula; what cannot be drawn at all becomes a question mark.
    """
    for text in figure.findobj(Text):
        if not isinstance(text, Text):
            continue
        text.set_parse_math(False)  # names of classes and files are no formulas
        text.set_usetex(False)
        told = plain(text.get_text())
        missing = _missing(_default_font(), frozenset(told))
        if missing:
            families, found = _found(missing)
            marks = {ord(sign): _mark(sign) for sign in missing - found}
            told = told.translate(marks)
            text.set_fontfamily([*font_manager.FontProperties().get_family(), *families])
        if told != text.get_text():
            text.set_text(told)


def _mark(sign: str) -> str:
    # What is invisible anyway (joiners, marks of order and variation) leaves nothing behind.
    return "" if unicodedata.category(sign) in ("Cf", "Mn") else "?"


@functools.cache
def _default_font() -> str:
    return font_manager.findfont(font_manager.FontProperties())


@functools.lru_cache(maxsize=4096)
def _missing(path: str, letters: frozenset[str]) -> frozenset[str]:
    """Those of some letters that a font does not have; all where it cannot be used."""
    try:
        font = FT2Font(path)
        if not font.scalable:  # pictures of emoji, which matplotlib cannot draw
            return letters
        return frozenset(
            sign for sign in letters if sign != "\n" and not font.get_char_index(ord(sign))
        )
    except (OSError, RuntimeError):
        return letters


@functools.lru_cache(maxsize=256)
def _found(letters: frozenset[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    """Names of installed fonts that have as many of these letters as there are, and which."""
    visible = frozenset(sign for sign in letters if unicodedata.category(sign) != "Cs")
    families: list[str] = []
    left = visible
    for name, path in _installed():
        still = _missing(path, left)
        if len(still) < len(left):
            families.append(name)
            left = still
        if not left:
            break
    return tuple(families), visible - left


@functools.cache
def _installed() -> list[tuple[str, str]]:
    """Names and files of fonts, upright ones of usual weight and without serifs first."""
    manager = font_manager.fontManager
    known = {font.fname for font in manager.ttflist}
    for path in font_manager.findSystemFonts():
        if path not in known:  # matplotlib's list may be older than the font
            _add(manager, path)
    fonts = [font for font in manager.ttflist if not font.name.startswith(_NO_LETTERS)]
    fonts.sort(
        key=lambda font: (
            font.style != "normal",
            str(font.weight) not in ("400", "normal", "regular"),
            "Sans" not in font.name,
            font.name,
        )
    )
    return list(_first_of_each(fonts).items())


def _add(manager: font_manager.FontManager, path: str) -> None:
    try:
        manager.addfont(path)
    except (OSError, RuntimeError, ValueError) as error:
        logging.debug("font %s cannot be read: %s", path, error)


def _first_of_each(fonts: Iterable[font_manager.FontEntry]) -> dict[str, str]:
    found: dict[str, str] = {}
    for font in fonts:
        found.setdefault(font.name, font.fname)  # matplotlib picks by the name
    return found
