"""Figures hold all of their texts."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from cervix_jax import figures
from cervix_jax.figures import fitting


@pytest.fixture
def saved(monkeypatch):
    """The figures that are written, as they were then."""
    kept = []
    write = Figure.savefig

    def savefig(self, *arguments, **options):
        kept.append(self)
        write(self, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", savefig)
    return kept


def is_whole(figure):
    """Whether no text is cut, by what sticks out of the figure in inches."""
    figure.draw_without_rendering()
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    return min(box.x0, box.y0, width - box.x1, height - box.y1) > -0.05


TITLES = ("short", "my folder of cells, test: " + "accuracy 0.907 and " * 12, "x" * 250)


@pytest.mark.parametrize("title", TITLES, ids=["short", "words", "one word"])
def test_no_title_is_cut(tmp_path, saved, title):
    rates = np.array([0, 0.5, 1]), np.array([0, 0.7, 1])
    row = (0.5, 0.4, 0.6)
    figures.confusion_matrix(np.eye(2, dtype=int), ("a", "b"), title, tmp_path / "a.png")
    figures.roc_curves({"a": rates}, title, tmp_path / "b.png")
    figures.reliability([(0.5, 0.5, (0.4, 0.6), 9)], title, tmp_path / "c.png")
    figures.grouped_bars(
        {"": [row]}, ["a"], reference=("r", 0.2), ylabel="y", title=title, path=tmp_path / "d.png"
    )
    figures.intervals({"a": {"s": row}}, xlabel="x", title=title, path=tmp_path / "e.png")
    grid = Figure(figsize=(6, 3), layout="constrained")
    for axes in grid.subplots(1, 3):
        axes.set_title(title)
    figures.save(grid, tmp_path / "f.png")
    assert len(saved) == 6
    for figure in saved:
        assert is_whole(figure)
        texts = [*figure.texts, *(axes.title for axes in figure.axes)]
        told = [text.get_text().replace("\n", "").replace(" ", "") for text in texts]
        assert title.replace(" ", "") in told, "all of the title is there"


@pytest.mark.parametrize("name", ["x" * 120, "koilocytotic and other cells " * 5])
@pytest.mark.parametrize("count", [2, 12])
def test_long_class_names_leave_the_plot_room(tmp_path, saved, name, count):
    names = (name, *(f"b{number}" for number in range(1, count)))
    rates = np.array([0, 0.5, 1]), np.array([0, 0.7, 1])
    figures.confusion_matrix(np.eye(count, dtype=int), names, "t", tmp_path / "a.png")
    figures.roc_curves(
        {f"{each} 0.93 (0.91 to 0.95)": rates for each in names}, "t", tmp_path / "b.png"
    )
    for figure in saved:
        assert is_whole(figure)
        assert min(figure.axes[0].get_window_extent().size / figure.dpi) > 1, "inches"


def test_labels_with_an_underscore_are_in_the_legend(tmp_path, saved):
    rates = np.array([0, 0.5, 1]), np.array([0, 0.7, 1])
    figures.roc_curves({"_other": rates, "$b$": rates}, "t", tmp_path / "a.png")
    legend = saved[0].axes[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["_other", "$b$", "chance"]


def test_a_figure_that_has_room_keeps_its_size(tmp_path, saved):
    figures.confusion_matrix(
        np.eye(5, dtype=int), ("a", "b", "c", "d", "e"), "a title", tmp_path / "a.png"
    )
    side = 2.2 + 0.85 * 5
    assert saved[0].get_size_inches() == pytest.approx([side + 1.2, side])
    assert imread(tmp_path / "a.png").shape[:2] == (int(130 * side), int(130 * (side + 1.2)))


def test_wrapping_keeps_all_letters_and_line_breaks():
    assert figures.wrapped("one two three", 8) == "one two\nthree"
    assert figures.wrapped("a\nb" + "c" * 9, 5) == "a\nbcccc\nccccc"
    assert fitting.wrapped("short") == "short"
