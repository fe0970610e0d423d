"""Names are drawn with fonts that have their letters, or numbered, and never taken for markup."""

import logging as standard_logging
import shutil
import warnings
from pathlib import Path

import matplotlib
import pytest
from absl import logging
from matplotlib import font_manager
from matplotlib.figure import Figure

from cervix_jax import figures
from cervix_jax.figures import letters

CHINESE = "\u6b63\u5e38"  # no font of matplotlib's own has these two


@pytest.fixture
def only_matplotlibs_fonts(monkeypatch):
    """As on a machine without fonts of other scripts."""
    own = [
        font for font in font_manager.fontManager.ttflist
        if matplotlib.get_data_path() in font.fname
    ]  # fmt: skip
    monkeypatch.setattr(letters.font_manager, "findSystemFonts", list)
    monkeypatch.setattr(font_manager.fontManager, "ttflist", own)
    _forget()
    monkeypatch.setattr(letters, "_said", set())
    yield
    _forget()


def _forget():
    for each in (letters._installed, letters._found, letters._missing):
        each.cache_clear()


@pytest.fixture
def warned(monkeypatch):
    said = []
    monkeypatch.setattr(logging, "warning", lambda text, *values: said.append(text % values))
    return said


def test_ordinary_names_stay(warned):
    names = ("Superficial-Intermediate", "$a_$", "_other", "im_\u00d6rtlich", "\u03b2 < 3 & 4")
    assert figures.drawable(names) == names
    assert warned == []


@pytest.mark.usefixtures("only_matplotlibs_fonts")
def test_classes_without_a_font_are_numbered_and_said_once(warned):
    names = ("NILM", CHINESE, "\U0001f9a0", "\udcff")
    for _ in range(2):
        assert figures.drawable(names) == ("NILM", "class 2", "class 3", "class 4")
    assert len(warned) == 1
    assert f"class 2 is '{CHINESE}'; class 3 is " in warned[0]
    assert "Noto Sans" in warned[0]


def test_names_that_cannot_be_told_apart_or_are_too_long_are_numbered(warned):
    names = ("a\tb", "a b", "x" * 500, " ", "class 3")
    assert figures.drawable(names) == ("a b", "class 2", "number 3", "class 4", "class 3")


def test_names_are_compared_composed():
    assert figures.drawable(["Ko\u0308ln"]) == ("K\u00f6ln",)


@pytest.mark.usefixtures("only_matplotlibs_fonts")
def test_an_installed_font_that_has_the_letters_is_used(monkeypatch, tmp_path):
    """Matplotlib's own list may be older than the font: a font of symbols stands in for it."""
    # By its file: bold and slanted fonts of the same name have other signs.
    files = {Path(font.fname).name: font.fname for font in font_manager.fontManager.ttflist}
    sign = "\ue000"  # of the private use area: STIX has it, DejaVu Sans does not
    others = [font for font in font_manager.fontManager.ttflist if not font.name.startswith("STIX")]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", others)
    _forget()
    assert letters.without_font(sign) == {sign}
    newer = tmp_path / "symbols.ttf"
    shutil.copy(files["STIXNonUni.ttf"], newer)
    monkeypatch.setattr(letters.font_manager, "findSystemFonts", lambda: [str(newer)])
    _forget()
    assert letters.without_font(sign) == frozenset()
    assert figures.drawable([sign, "b"]) == (sign, "b")
    figure = Figure()
    figure.suptitle(f"a {sign}")
    figures.save(figure, tmp_path / "a.png")
    assert figure.texts[0].get_fontfamily()[-1] == "STIXNonUnicode"


@pytest.mark.usefixtures("only_matplotlibs_fonts")
@pytest.mark.parametrize("text", [CHINESE, "\U0001f600", "a\u2067b", "\udcff", "x\ty", "\ufe0f"])
def test_other_texts_are_drawn_without_a_word(tmp_path, text, caplog):
    """Names of folders stand in titles."""
    figure = Figure()
    figure.suptitle(f"cells of {text}")
    with warnings.catch_warnings(), caplog.at_level(standard_logging.WARNING):
        warnings.simplefilter("error")
        figures.save(figure, tmp_path / "a.png")
    assert caplog.records == []
    assert figure.texts[0].get_text().startswith("cells of ")


def test_a_users_style_makes_no_text_markup(tmp_path):
    with matplotlib.rc_context({"text.usetex": True}):
        figure = Figure()
        figure.subplots().set_title(r"50 % of $\foo_ \input{x}")
        figures.save(figure, tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 1000
