"""Table of several runs: differences of their configs, and their metrics with intervals.

The runs may use any data and splits. Runs tested on the same images are also compared image by
image, each with the first run.
"""

import csv
import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cervix_jax.command.columns import aligned
from cervix_jax.data.splits import UNKNOWN_GROUPS
from cervix_jax.errors import InputError
from cervix_jax.evaluate.predictions_file import SUFFIX, read_table
from cervix_jax.evaluate.report_file import (
    TITLES,
    EvaluationReport,
    Metric,
    interval_text,
    make_report,
    read_report,
    way_out,
)
from cervix_jax.evaluate.sides import members_of, no_predictions
from cervix_jax.files.atomic import write_json, write_text
from cervix_jax.runs.workdir import FREE_FIELDS, flatten, read_config
from cervix_jax.statistics.resampling import Resamples
from cervix_jax.statistics.side_by_side import Comparison

FILES = ("comparison.json", "comparison.csv", "comparison.md")
ABSENT = "absent"
INTERVALS = (
    "Intervals are 95 %. Method wilson assumes independent images; other methods resample whole "
    'groups. Columns and rows "by group" always resample whole groups.'
)


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """An evaluated run or file of predictions.

    Attributes:
      name: its path.
      report: its evaluation.
      config: flat fields of its config; None for a file of predictions.
    """

    name: str
    report: EvaluationReport
    config: dict[str, Any] | None

    def facts(self) -> dict[str, Any]:
        """Facts on the evaluated data, JSON-ready."""
        report = self.report
        names = ("dataset", "title", "split", "protocol", "fold", "step", "n", "groups", "leakage")
        return {"run": self.name} | {name: getattr(report, name) for name in names}

    def metric(self, name: str) -> Metric | None:
        """A metric; None if a report of an earlier version lacks it."""
        return self.report.metrics.get(name)


@dataclasses.dataclass(frozen=True)
class RunsTable:
    """Any number of runs, and comparisons of each with the first.

    Attributes:
      runs: in the order given; a cross-validation contributes its members.
      comparisons: the first path, another path, and their comparison or the reason for its absence.
    """

    runs: list[Evaluated]
    comparisons: list[tuple[str, str, Comparison | str]]

    @property
    def differences(self) -> dict[str, list[Any]]:
        """Config fields that differ between runs, with the value of each run."""
        known = [run.config for run in self.runs if run.config is not None]
        fields = sorted({field for config in known for field in config} - set(FREE_FIELDS))
        return {
            field: [None if r.config is None else r.config.get(field, ABSENT) for r in self.runs]
            for field in fields
            if any(config.get(field, ABSENT) != known[0].get(field, ABSENT) for config in known)
        }

    def text(self) -> str:
        """The table and comparisons as text for a terminal."""
        blocks = [
            _comparison_text(first, second, found) for first, second, found in self.comparisons
        ]
        head = ["run", "images", "groups", "accuracy", "by group", "balanced accuracy", "leakage"]
        rows = [head]
        for run in self.runs:
            report, accuracy = run.report, run.metric("accuracy")
            by_group = interval_text(accuracy.interval_by_group) if accuracy else "unknown"
            rows.append(
                [run.name, str(report.n), str(report.groups),
                 f"{report.accuracy:.4f} ({interval_text(report.accuracy_interval)})", by_group,
                 str(run.metric("balanced_accuracy") or ""), leakage_text(report)]
            )  # fmt: skip
        lines = [aligned(rows), INTERVALS]
        if differences := self.differences:
            lines.append("configs differ in")
            lines += [
                f"  {field}: {', '.join('-' if v is None else str(v) for v in values)}"
                for field, values in differences.items()
            ]
        return "\n".join([*blocks, *lines])

    def markdown(self) -> str:
        """The table and comparisons as Markdown."""
        head, *rows = self._rows()
        lines = ["# Runs side by side", "", _line(head), _line(["---"] * len(head))]
        lines += [_line(row) for row in rows]
        lines += ["", INTERVALS]
        for first, second, found in self.comparisons:
            lines += ["", f"## {_cell(first)} and {_cell(second)}", ""]
            if isinstance(found, str):
                lines.append(f"Not compared image by image: {_cell(found)}")
            else:
                lines += ["```", found.text(), "```"]
        return "\n".join(lines) + "\n"

    def csv(self) -> str:
        """One row per run: facts, differing config fields, metrics with intervals."""
        differences, rows = self.differences, []
        for place, run in enumerate(self.runs):
            row = run.facts() | {f"config.{f}": values[place] for f, values in differences.items()}
            for name in TITLES:
                row |= _numbers(name, run.metric(name))
            rows.append({key: "" if value is None else value for key, value in row.items()})
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()

    def to_json(self) -> dict[str, Any]:
        """The table and comparisons, JSON-ready."""
        return {
            "runs": [
                run.facts()
                | {
                    "metrics": {
                        name: dataclasses.asdict(metric)
                        for name in TITLES
                        if (metric := run.metric(name)) is not None
                    }
                }
                for run in self.runs
            ],
            "config_differences": self.differences,
            "comparisons": [
                {"a": first, "b": second}
                | (
                    {"why": found}
                    if isinstance(found, str)
                    else {
                        "rows": [dataclasses.asdict(row) for row in found.rows],
                        "sentences": found.sentences,
                    }
                )
                for first, second, found in self.comparisons
            ],
        }

    def write(self, folder: str | Path) -> list[Path]:
        """Write `comparison.json`, `.csv` and `.md` into a folder.

        Raises:
          InputError: the folder cannot be written to.
        """
        paths = [Path(folder) / name for name in FILES]
        write_json(paths[0], self.to_json())
        write_text(paths[1], self.csv())
        write_text(paths[2], self.markdown())
        return paths

    def _rows(self) -> list[list[str]]:
        """Lines of the table, with one column per run, as there may be many fields."""
        rows = [["", *(run.name for run in self.runs)]]
        for title, value in (
            ("data", lambda run: f"{run.report.title}, {run.report.split}"),
            ("images, groups", lambda run: f"{run.report.n}, {run.report.groups}"),
            ("protocol", lambda run: protocol_text(run.report)),
            ("leakage", lambda run: leakage_text(run.report)),
        ):
            rows.append([title, *(value(run) for run in self.runs)])
        for field, values in self.differences.items():
            rows.append([field, *("" if value is None else _cell(value) for value in values)])
        for name, title in TITLES.items():
            found = [run.metric(name) for run in self.runs]
            rows.append([title, *("" if m is None else f"{m}, {m.method}" for m in found)])
            if name == "accuracy":
                by_group = [m and interval_text(m.interval_by_group) for m in found]
                rows.append([f"{title} by group", *(text or "" for text in by_group)])
        return rows


def read_evaluated(path: str | Path, stem: str) -> list[Evaluated]:
    """Read the evaluation of a run, of each member of a cross-validation, or of a predictions file.

    Args:
      path: a folder or file.
      stem: stem of the file names, "test" or "test_tta".

    Raises:
      InputError: there is no evaluation, or a file cannot be read.
    """
    path = Path(path)
    if path.is_file():
        table = read_table(path)
        facts = {"dataset": path.name, "split": "predictions", "protocol": None, "leakage": None}
        report = make_report(table, facts, Resamples(table.groups))
        return [Evaluated(str(path), EvaluationReport.of(report, path), None)]
    if not path.exists():
        raise InputError(f"{path}: there is no such file or folder; give a workdir or a CSV.")
    members = members_of(path, f"{stem}{SUFFIX}")
    if not members:
        raise no_predictions(path, stem)
    found = []
    for member in sorted(members):
        folder = members[member]
        where = folder / "evaluate" / f"{stem}.json"
        report = read_report(where)
        if report is None:
            raise InputError(f"{where}: there is no such report; {way_out(where)}.")
        try:
            config = flatten(read_config(folder).to_dict())
        except InputError:
            config = None  # predictions of another program in the layout of a run
        found.append(Evaluated(str(folder), report, config))
    return found


def protocol_text(report: EvaluationReport) -> str:
    """Split protocol and fold, or that they are unknown."""
    if report.protocol is None:
        return "unknown"
    return f"{report.protocol}, fold {report.fold}" if report.folds else report.protocol


def leakage_text(report: EvaluationReport) -> str:
    """Leakage as a percentage, or that it is unknown."""
    if report.leakage is not None:
        return f"{report.leakage:.1%}"
    return "unknown" if report.protocol is None else UNKNOWN_GROUPS.partition(" (")[0]


def _numbers(name: str, metric: Metric | None) -> dict[str, Any]:
    columns = ("", "_low", "_high", "_method", "_group_low", "_group_high")
    if metric is None:
        return dict.fromkeys((name + column for column in columns), None)
    values = (
        metric.estimate,
        *(metric.interval or (None, None)),
        metric.method,
        *(metric.interval_by_group or (None, None)),
    )
    return {name + column: value for column, value in zip(columns, values, strict=True)}


def _comparison_text(first: str, second: str, found: Comparison | str) -> str:
    if isinstance(found, str):
        return f"{first} and {second} are not compared image by image: {found}"
    return found.text()


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(_cell(cell) for cell in cells)} |"


def _cell(value: Any) -> str:
    """A value in a cell of a table."""
    return " ".join(str(value).split()).replace("|", "\\|")
