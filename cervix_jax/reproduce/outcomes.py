"""Files that reproductions write to `--out`, also when several processes share the runs.

outcomes/<row>_<protocol>.json          outcome of an experiment, or why it was left out
predictions/<row>_<protocol>.csv.gz     predictions of all folds and seeds; also `..._tta.csv.gz`
note.md                                 notes on these runs for the reader
shortcuts.json                          the shortcut baselines of the audit
results.json, RESULTS.md, results.png   the results, written again after every experiment
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cervix_jax import figures
from cervix_jax.errors import InputError
from cervix_jax.evaluate.joined_file import write_joined
from cervix_jax.evaluate.sides import read_side
from cervix_jax.files.atomic import read_json, write_json, write_text
from cervix_jax.files.paths import user_path
from cervix_jax.reproduce import results
from cervix_jax.reproduce.experiments import Experiment
from cervix_jax.reproduce.measure import measure, variants
from cervix_jax.reproduce.rows import ROWS


def keep_outcome(out: Path, experiment: Experiment, command: str, *, ran: bool) -> None:
    """Measure a finished experiment, and store its outcome and its predictions.

    Args:
      out: output folder of the reproduction.
      experiment: the finished experiment.
      command: the command that ran it, for readers.
      ran: whether this command ran it; if not, a command already stored is kept.
    """
    path = _outcome_path(out, experiment)
    before = (read_json(path) if path.is_file() else None) or {}
    kept = {}
    for name in ("", *variants(experiment)):
        stem = "_".join(filter(None, (experiment.row.id, experiment.protocol, name)))
        file = out / "predictions" / f"{stem}.csv.gz"
        split = "_".join(filter(None, ("test", name)))
        write_joined(file, read_side(experiment.folder, split))
        kept[name or "test"] = f"predictions/{file.name}"
    outcome = measure(experiment) | {"predictions": kept}
    write_json(path, outcome | {"command": command if ran else before.get("command", command)})


def keep_reason(out: Path, experiment: Experiment, reason: str) -> None:
    """Store why an experiment was left out; an existing outcome is kept."""
    path = _outcome_path(out, experiment)
    if "accuracy" not in (read_json(path) or {}):
        names = {"row": experiment.row.id, "protocol": experiment.protocol}
        write_json(path, names | {"left_out": reason})


def _outcome_path(out: Path, experiment: Experiment) -> Path:
    return out / "outcomes" / f"{experiment.row.id}_{experiment.protocol}.json"


def keep_note(out: Path, note: str) -> None:
    """Copy the file of `--note` to the folder, where later calls find it.

    Raises:
      InputError: the file does not exist, or is not text.
    """
    path = user_path(note, "--note")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise InputError(
            f"--note={note}: cannot be read ({error}); give a file of Markdown in UTF-8."
        ) from error
    write_text(out / "note.md", text)


def write_page(out: Path) -> None:
    """Write `results.json`, RESULTS.md and the picture from everything stored in the folder.

    Another process may write them too, so the folder is read again afterwards: the last process to
    write has seen all results.
    """
    found = collect(out)
    while True:
        write_json(out / "results.json", found)
        write_text(out / "RESULTS.md", results.markdown(found))
        figures.intervals(
            results.intervals_to_draw(found),
            xlabel=results.XLABEL,
            title=results.TITLE,
            path=out / "results.png",
        )
        written, found = found, collect(out)
        if found == written:
            return


def collect(out: Path) -> dict[str, Any]:
    """The contents of `results.json`, from the files in a folder; rows in the order of the table.

    Returns:
      `outcomes, skipped, shortcuts, note`, see `results.markdown`.
    """
    kept = [read_json(path) or {} for path in sorted((out / "outcomes").glob("*.json"))]
    order = {row.id: number for number, row in enumerate(ROWS)}
    protocols = {(row.id, name): n for row in ROWS for n, name in enumerate(row.protocols)}

    def place(outcome: Mapping[str, Any]) -> tuple[int, int]:
        key = (outcome["row"], outcome["protocol"])
        return order.get(outcome["row"], len(order)), protocols.get(key, 0)

    kept.sort(key=place)
    note = out / "note.md"
    return {
        "outcomes": [each for each in kept if "left_out" not in each],
        "skipped": {
            f"{each['row']}, {each['protocol']}": each["left_out"]
            for each in kept
            if "left_out" in each
        },
        "shortcuts": read_json(out / "shortcuts.json"),
        "note": note.read_text(encoding="utf-8") if note.is_file() else "",
    }
