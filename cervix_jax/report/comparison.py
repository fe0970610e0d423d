"""Several runs on one page: metrics, config differences, learning curves, paired differences."""

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cervix_jax import __version__, figures
from cervix_jax.evaluate.report_file import TITLES, interval_text
from cervix_jax.evaluate.runs_table import (
    Evaluated,
    RunsTable,
    leakage_text,
    protocol_text,
)
from cervix_jax.evaluate.workflow import tabulate_runs
from cervix_jax.figures.html import encoded_uri, template
from cervix_jax.files.atomic import write_text
from cervix_jax.statistics.side_by_side import NOTE, Comparison
from cervix_jax.training.writers import read_json_lines

SECTIONS = (
    ("runs", "Runs"),
    ("metrics", "Metrics"),
    ("configs", "Configs"),
    ("curves", "Learning curves"),
    ("paired", "Paired differences"),
)
DRAWN = ("accuracy", "balanced_accuracy", "macro_auroc")  # in the figure of intervals


def write_comparison(
    paths: Sequence[str | Path], *, split: str = "test", out: str | Path = "compare.html"
) -> Path:
    """Write the page of several evaluated runs.

        write_comparison(["runs/a", "runs/b"], out="compare.html")

    Args:
      paths: runs, cross-validations or files of predictions, two or more.
      split: the split whose evaluations are compared.
      out: the page.

    Returns:
      The page.

    Raises:
      InputError: a run was not evaluated, or a file cannot be read or written.
    """
    table = tabulate_runs(paths, split=split, must_pair=False)
    path = Path(out)
    write_text(path, render(table, short_names([run.name for run in table.runs])))
    return path


def render(table: RunsTable, names: Sequence[str]) -> str:
    """The page as HTML.

    Args:
      table: the runs and the comparisons of the first with each other one.
      names: of the runs, as the page calls them.
    """
    called = dict(zip((run.name for run in table.runs), names, strict=True))
    histories = {name: _history(run) for name, run in zip(names, table.runs, strict=True)}
    return template("cervix_jax.report", "comparison.html.j2").render(
        title=f"Comparison of {len(table.runs)} runs",
        sections=SECTIONS,
        names=names,
        split=", ".join(dict.fromkeys(run.report.split for run in table.runs)),
        runs=_columns(table.runs, RUN_ROWS),
        metrics=_columns(table.runs, METRIC_ROWS),
        differences=[
            (field, ["not known" if value is None else str(value) for value in values])
            for field, values in table.differences.items()
        ],
        pictures=_pictures(dict(zip(names, table.runs, strict=True)), histories),
        without_curves=[name for name, history in histories.items() if not history],
        comparisons=[
            _compared(called.get(first, first), called.get(second, second), found)
            for first, second, found in table.comparisons
        ],
        note=NOTE,
        version=__version__,
    )


def short_names(paths: Sequence[str]) -> list[str]:
    """Paths without the folders that all of them share; the whole paths if one would be empty."""
    if len(set(paths)) < 2:
        return list(paths)
    whole = [os.path.abspath(path) for path in paths]
    shared = os.path.commonpath(whole)
    short = [os.path.relpath(path, shared) for path in whole]
    return list(paths) if "." in short else short


RUN_ROWS: Mapping[str, Callable[[Evaluated], str]] = {
    "Folder or file": lambda run: run.name,
    "Model": lambda run: str((run.config or {}).get("model.name", "not known")),
    "Data": lambda run: f"{run.report.title}, {run.report.split}",
    "Images": lambda run: f"{run.report.n} of {run.report.groups} groups",
    "Split protocol": lambda run: protocol_text(run.report),
    "Leakage": lambda run: leakage_text(run.report),
    "Checkpoint step": lambda run: str(run.report.step or "not known"),
}


def _metric_row(name: str) -> Callable[[Evaluated], str]:
    return lambda run: str(run.metric(name) or "not in the report")


def _by_group(run: Evaluated) -> str:
    accuracy = run.metric("accuracy")
    return interval_text(accuracy.interval_by_group) if accuracy else "not in the report"


METRIC_ROWS: dict[str, Callable[[Evaluated], str]] = {}
for _name, _title in TITLES.items():
    METRIC_ROWS[_title[0].upper() + _title[1:]] = _metric_row(_name)
    if _name == "accuracy":
        METRIC_ROWS["Accuracy, interval by group"] = _by_group


def _columns(
    runs: Sequence[Evaluated], rows: Mapping[str, Callable[[Evaluated], str]]
) -> list[tuple[str, list[str]]]:
    return [(title, [state(run) for run in runs]) for title, state in rows.items()]


def _history(run: Evaluated) -> list[dict[str, Any]]:
    rows = read_json_lines(Path(run.name) / "metrics.jsonl") if Path(run.name).is_dir() else []
    return [row for row in rows if "epoch" in row]


def _pictures(
    runs: Mapping[str, Evaluated], histories: Mapping[str, list[dict[str, Any]]]
) -> dict[str, str]:
    """Figures as data URIs: `intervals` and, where any run has them, `curves`."""
    lines = {
        name: {
            TITLES[metric]: (found.estimate, *found.interval_by_group)
            for metric in DRAWN
            if (found := run.metric(metric)) is not None
            and found.estimate is not None
            and found.interval_by_group is not None
        }
        for name, run in runs.items()
    }
    pictures = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "picture.png"
        if any(lines.values()):
            shown = {name: found for name, found in lines.items() if found}
            figures.intervals(
                shown, xlabel="value, 95 % interval by resampling groups", title="", path=path
            )
            pictures["intervals"] = encoded_uri(path.read_bytes())
        if any(histories.values()):
            figures.runs_learning_curves(histories, path)
            pictures["curves"] = encoded_uri(path.read_bytes())
    return pictures


def _compared(first: str, second: str, found: Comparison | str) -> dict[str, Any]:
    if isinstance(found, str):
        return {"first": first, "second": second, "why": found}
    return {
        "first": first,
        "second": second,
        "why": "",
        "rows": [(row.metric, [*row.cells(), row.test]) for row in found.rows],
        "sentences": found.sentences,
    }
