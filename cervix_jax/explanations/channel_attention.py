"""Gates of channel attention by class, as a table and a picture."""

import csv
import io
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from cervix_jax import explain
from cervix_jax.explanations.selection import Selection
from cervix_jax.figures import LABEL_SIZE, drawable, save, wrapped
from cervix_jax.files.atomic import write_text
from cervix_jax.runs.run import Run

CSV_FIELDS = ("block", "channel", "class", "mean", "deviation", "n")


def write_gates(
    run: Run, selection: Selection, folder: Path, *, batch_size: int, progress: str = ""
) -> tuple[str, ...]:
    """Write `channel_attention.csv` and `.png`: the mean gate of each block, class and channel.

    Classes are the classes of the data set, even if the network has other classes.

    Args:
      run: the run.
      selection: the images.
      folder: folder to write to.
      batch_size: images in one batch.
      progress: label of the progress bar.

    Returns:
      The names of the blocks with attention. Without any, no file is written.
    """
    names = explain.gate_names(run.features_fn, selection.images.shape[1:])
    if not names:
        return ()
    gates = explain.channel_gates(
        run.features_fn, selection.images, batch_size=batch_size, progress=progress
    )
    classes = selection.dataset.class_names
    buffer = io.StringIO()
    rows = csv.writer(buffer, lineterminator="\n")
    rows.writerow(CSV_FIELDS)
    labels = [wrapped(name) for name in drawable(classes)]
    figure = Figure(figsize=(10, 1.2 + (0.9 + 0.24 * len(classes)) * len(names)),
                    layout="constrained")  # fmt: skip
    for name, axes in zip(names, np.atleast_1d(figure.subplots(len(names))), strict=True):
        found = explain.gate_statistics(gates[name], selection.labels, len(classes))
        for label, own in enumerate(classes):
            for channel, (mean, spread) in enumerate(
                zip(found.mean[label], found.deviation[label], strict=True)
            ):
                if found.count[label]:
                    spread = "" if np.isnan(spread) else f"{spread:.6g}"
                    rows.writerow([name, channel, own, f"{mean:.6g}", spread, found.count[label]])
        shown = axes.imshow(
            found.mean, aspect="auto", interpolation="nearest", cmap="viridis", vmin=0, vmax=1
        )
        axes.set_yticks(np.arange(len(classes)), labels, fontsize=LABEL_SIZE - 1)
        axes.set_xlabel("channel", fontsize=LABEL_SIZE)
        axes.set_title(name, fontsize=LABEL_SIZE)
        figure.colorbar(shown, ax=axes, label="mean gate", pad=0.01)
    figure.suptitle(
        f"{selection.dataset.title}: gates of channel attention by class", fontsize=LABEL_SIZE + 1
    )
    save(figure, folder / "channel_attention.png")
    write_text(folder / "channel_attention.csv", buffer.getvalue())
    return names
