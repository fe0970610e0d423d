"""Plots of arrays as PNG files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from cervix_jax.figures.fitting import LABEL_SIZE, LINE, save, wrapped
from cervix_jax.figures.letters import drawable


def confusion_matrix(
    counts: np.ndarray, class_names: tuple[str, ...], title: str, path: Path
) -> None:
    """Draw a confusion matrix: counts in the cells, colour by the share of the true class.

    Args:
      counts: int [C, C], rows true, columns predicted.
      class_names: C names; see `drawable` and `wrapped` for how they are shown.
      title: above the plot.
      path: PNG to write.
    """
    counts = np.asarray(counts)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    names = [wrapped(name) for name in drawable(class_names)]
    cell = max(0.85, 0.16 * max(name.count("\n") + 1 for name in names))  # inches
    longest = max(len(line) for name in names for line in name.split("\n"))
    side = 2.2 + cell * len(names) + 0.1 * max(0, longest - 24)
    figure = Figure(figsize=(side + 1.2, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    ticks = np.arange(len(class_names))
    axes.set_xticks(ticks, names, rotation=40, ha="right", fontsize=LABEL_SIZE)
    axes.set_yticks(ticks, names, fontsize=LABEL_SIZE)
    axes.set(xlabel="predicted", ylabel="true")
    figure.suptitle(title, fontsize=LABEL_SIZE + 1)
    for (row, column), count in np.ndenumerate(counts):
        colour = "white" if shares[row, column] > 0.55 else "black"
        axes.text(column, row, str(count), ha="center", va="center", color=colour)
    figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)
    save(figure, path)


def detection_curves(
    curves: Mapping[str, Mapping[str, Sequence[float]]], title: str, path: Path
) -> None:
    """Draw what share of marked points is found against detections a field and against precision.

    Args:
      curves: of each source `statistics.detection.detection_curve`.
      title: above the plot.
      path: PNG to write.
    """
    figure = Figure(figsize=(9.0, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for name, curve in curves.items():
        left.plot(curve["detections_per_field"], curve["recall"], label=drawable([name])[0])
        right.plot(curve["precision"], curve["recall"])
    left.set(xlabel="detections a field", ylabel="recall of marked nuclei", xlim=(0, 200))
    right.set(xlabel="precision against marked nuclei (a lower bound)", xlim=(0, 1), ylim=(0, 1))
    for axes in (left, right):
        axes.grid(alpha=0.3)
    if curves:
        left.legend(fontsize=LABEL_SIZE)
    figure.suptitle(title, fontsize=LABEL_SIZE + 1)
    save(figure, path)


def reliability(
    bins: Sequence[tuple[float, float, tuple[float, float], int]],
    title: str,
    path: Path,
) -> None:
    """Draw how often predictions are right against how sure they are, and how many there are.

    Args:
      bins: of each bin that holds predictions the mean confidence, the share that is right, the
        interval of that share, and the number of predictions; shares in [0, 1].
      title: above the plot.
      path: PNG to write.
    """
    figure = Figure(figsize=(4.8, 5.4), layout="constrained")
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(3.2, 1))
    confidence, share, interval, count = zip(*bins, strict=True)
    low, high = np.transpose(interval)
    errors = np.maximum([np.subtract(share, low), np.subtract(high, share)], 0)
    axes.plot([0, 1], [0, 1], color="0.5", linestyle="--", linewidth=1, label="calibrated")
    axes.errorbar(
        confidence, share, errors, fmt="o", color="tab:blue", markersize=5, elinewidth=1,
        capsize=2, label="mean of a bin, 95 % (Wilson)",
    )  # fmt: skip
    axes.set(ylabel="share that is right", xlim=(0, 1), ylim=(0, 1.02))
    figure.suptitle(title, fontsize=LABEL_SIZE + 1)
    axes.legend(loc="upper left", fontsize=LABEL_SIZE)
    below.bar(confidence, count, width=0.03, color="tab:blue")
    below.set(xlabel="confidence: probability of the predicted class", ylabel="predictions")
    for each in (axes, below):
        each.grid(alpha=0.3)
        each.set_axisbelow(True)
    save(figure, path)


def roc_curves(curves: Mapping[str, tuple[np.ndarray, np.ndarray]], title: str, path: Path) -> None:
    """Draw sensitivity against 1 - specificity.

    Args:
      curves: text of the legend to false and true positive rates, each [K] in [0, 1], rising. Texts
        are shown as they are, class names in them as `drawable` gives them.
      title: above the plot.
      path: PNG to write.
    """
    texts = [*(wrapped(text, 2 * LINE) for text in curves), "chance"]
    lines = sum(text.count("\n") + 1 for text in texts)
    # A legend that would cover the curves goes below them.
    outside = lines > 12 or max(map(len, texts)) > 1.5 * LINE
    figure = Figure(figsize=(5.2, 5.4 + 0.16 * lines * outside), layout="constrained")
    axes = figure.subplots()
    drawn = [axes.plot(*rates, linewidth=1.5)[0] for rates in curves.values()]
    drawn += axes.plot([0, 1], [0, 1], color="0.5", linestyle="--", linewidth=1)
    axes.set(xlabel="1 - specificity", ylabel="sensitivity", xlim=(-0.01, 1), ylim=(0, 1.01))
    figure.suptitle(title, fontsize=LABEL_SIZE + 1)
    axes.set_aspect("equal")
    axes.grid(alpha=0.3)
    numbers = [str(number) for number in range(len(drawn))]
    if outside:
        legend = figure.legend(drawn, numbers, loc="outside lower center", fontsize=LABEL_SIZE - 1)
    else:
        legend = axes.legend(drawn, numbers, loc="lower right", fontsize=LABEL_SIZE - 1)
    for shown, text in zip(legend.get_texts(), texts, strict=True):
        shown.set_text(text)  # a label that begins with an underscore would be left out
    save(figure, path)


def decision_curves(curves: Mapping[str, Mapping[str, Any]], title: str, path: Path) -> None:
    """Draw net benefit against the threshold probability, with treating all and treating none.

    Args:
      curves: text of the legend to what `statistics.decision_curve` makes; all of the same images.
      title: above the plot.
      path: PNG to write.
    """
    figure = Figure(figsize=(6.4, 4.6), layout="constrained")
    axes = figure.subplots()
    for number, (name, curve) in enumerate(curves.items()):
        thresholds, colour = curve["thresholds"], f"C{number}"
        drawn = [(t, *ends) for t, ends in zip(thresholds, curve["interval_by_group"], strict=True)
                 if ends is not None]  # fmt: skip
        if drawn:
            at, low, high = zip(*drawn, strict=True)
            axes.fill_between(at, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(thresholds, curve["net_benefit"], color=colour, marker=".", label=name)
    first = next(iter(curves.values()))
    share = first["prevalence"]
    fine = np.linspace(0, 0.99, 100)
    all_treated = share - (1 - share) * fine / (1 - fine)
    axes.plot(fine, all_treated, color="0.35", linewidth=1, label="treat all")
    axes.axhline(0, color="black", linestyle="--", linewidth=1, label="treat none")
    room = max(share, 0.02)
    axes.set(
        xlabel="threshold probability of abnormal", ylabel="net benefit, lesions per image",
        xlim=(0, 1), ylim=(-0.25 * room, 1.1 * room),
    )  # fmt: skip
    axes.grid(alpha=0.3)
    axes.legend(fontsize=LABEL_SIZE - 1, loc="upper right")
    figure.suptitle(title, fontsize=LABEL_SIZE + 1)
    save(figure, path)


def learning_curves(rows: list[dict], path: Path) -> None:
    """Draw loss and accuracy by epoch, training and validation.

    Args:
      rows: one dict an epoch with `epoch` and `train/...`, `val/...` values.
      path: PNG to write.
    """
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for split, label, colour in (
            ("train", "train (augmented)", "tab:gray"),
            ("val", "validation", "tab:blue"),
        ):
            key = f"{split}/{name}"
            points = [(row["epoch"], row[key]) for row in rows if key in row]
            if points:
                axes.plot(*zip(*points, strict=True), marker=".", color=colour, label=label)
        axes.set(xlabel="epoch", ylabel=name)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend()
    save(figure, path)


def runs_learning_curves(runs: Mapping[str, Sequence[Mapping[str, Any]]], path: Path) -> None:
    """Draw loss and accuracy of several runs by epoch, a colour for each run.

    Args:
      runs: name of a run to its rows, see `learning_curves`; a run without rows is not drawn.
      path: PNG to write.
    """
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    lines: list[Any] = []
    names: list[str] = []
    for axes, metric in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for number, (name, rows) in enumerate(runs.items()):
            for split, style in (("val", "-"), ("train", ":")):
                key = f"{split}/{metric}"
                points = [(row["epoch"], row[key]) for row in rows if key in row]
                if points:
                    drawn = axes.plot(
                        *zip(*points, strict=True), style, marker=".", color=f"C{number}"
                    )
                    if name not in names:
                        lines += drawn
                        names.append(name)
        axes.set(xlabel="epoch", ylabel=metric)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
    figure.suptitle(
        "solid: validation images; dotted: training images (augmented)", fontsize=LABEL_SIZE
    )
    labels = [str(number) for number in range(len(lines))]
    legend = figure.legend(
        lines, labels, loc="outside lower center", ncols=3, fontsize=LABEL_SIZE - 1
    )
    for shown, name in zip(legend.get_texts(), names, strict=True):
        shown.set_text(wrapped(name))  # a label that begins with an underscore would be left out
    save(figure, path)


def grouped_bars(
    series: Mapping[str, Sequence[tuple[float, float, float]]],
    labels: Sequence[str],
    *,
    reference: tuple[str, float],
    ylabel: str,
    title: str,
    path: Path,
) -> None:
    """Draw bars with error bars, side by side for every series, and a dashed reference line.

    Args:
      series: name to one (value, length of the error bar below, above) per label; values in [0, 1].
        A single series needs no name.
      labels: under each group of bars.
      reference: name and height of the line.
      ylabel: what the values are.
      title: above the plot.
      path: PNG to write.
    """
    figure = Figure(figsize=(2 + 1.7 * len(labels), 4.4), layout="constrained")
    axes = figure.subplots()
    centres, width = np.arange(len(labels)), 0.82 / len(series)
    for number, (name, bars) in enumerate(series.items()):
        values, below, above = np.asarray(bars, float).T
        places = centres + (number - (len(series) - 1) / 2) * width
        # Rounding may put an end of an interval on the wrong side of its value.
        errors = np.maximum([below, above], 0)
        drawn = axes.bar(
            places, values, 0.94 * width, yerr=errors, label=name, capsize=2, ecolor="0.35"
        )
        texts = [f"{value:.2f}".removeprefix("0") for value in values]
        axes.bar_label(drawn, texts, padding=2, fontsize=LABEL_SIZE - 1.5)
    line, height = reference
    axes.axhline(height, color="black", linestyle="--", linewidth=1, label=line)
    axes.set_xticks(centres, labels, fontsize=LABEL_SIZE - 1)
    axes.set(ylabel=ylabel, ylim=(0, 1.08), yticks=np.linspace(0, 1, 6))
    figure.suptitle(title, fontsize=LABEL_SIZE + 1)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=len(series) + 1, fontsize=LABEL_SIZE)
    save(figure, path)


def intervals(
    lines: Mapping[str, Mapping[str, tuple[float, float, float]]],
    *,
    xlabel: str,
    title: str,
    path: Path,
) -> None:
    """Draw values with their intervals, one line of text for each group of them.

    Args:
      lines: label to series to (value, low, high), all in [0, 1]; a series keeps its colour.
      xlabel: what the values are.
      title: above the plot.
      path: PNG to write.
    """
    series = list(dict.fromkeys(name for found in lines.values() for name in found))
    colours = {name: f"C{number}" for number, name in enumerate(series)}
    figure = Figure(figsize=(9, 1.6 + 0.45 * len(lines)), layout="constrained")
    axes = figure.subplots()
    for row, found in enumerate(lines.values()):
        for place, (name, (value, low, high)) in enumerate(found.items()):
            height = row + 0.6 * ((place + 0.5) / len(found) - 0.5)
            axes.plot([low, high], [height, height], color=colours[name], linewidth=1.6)
            axes.plot(value, height, "o", color=colours[name], markersize=4.5)
        if row % 2:
            axes.axhspan(row - 0.5, row + 0.5, color="0.95", zorder=0)
    for name in series:
        axes.plot([], [], "o-", color=colours[name], label=name)
    axes.set_yticks(np.arange(len(lines)), list(lines), fontsize=LABEL_SIZE)
    axes.set(ylim=(len(lines) - 0.5, -0.5), xlabel=xlabel)
    figure.suptitle(title, fontsize=LABEL_SIZE + 1)
    axes.grid(axis="x", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=min(len(series), 5), fontsize=LABEL_SIZE)
    save(figure, path)
