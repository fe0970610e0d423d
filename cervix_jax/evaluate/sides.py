"""Predictions of runs, cross-validations and files, read from disk to be compared or averaged."""

import json
import re
from pathlib import Path

from cervix_jax.errors import InputError, shell_command
from cervix_jax.evaluate.joined_file import is_joined, read_joined
from cervix_jax.evaluate.predictions_file import SUFFIX, read_table
from cervix_jax.evaluate.report_file import EvaluationReport, read_report, way_out
from cervix_jax.evaluate.stems import parse_stem
from cervix_jax.statistics.side_by_side import Member, Side


def read_side(path: str | Path, split: str = "test") -> Side:
    """Read predictions from a file (one run or several) or from a workdir (one run or several).

    Raises:
      InputError: there are none, or they cannot be read.
    """
    path = Path(path)
    if path.is_file() and is_joined(path):
        return read_joined(path)
    if path.is_file():
        return Side(str(path), {(0, 0): read_table(path)}, {})
    if not path.exists():
        raise InputError(f"{path}: there is no such file or folder; give a workdir or a CSV.")
    name = f"{split}{SUFFIX}"
    members = members_of(path, name)
    if not members:
        raise no_predictions(path, split)
    tables = {key: read_table(members[key] / "evaluate" / name) for key in sorted(members)}
    ratios = {key: _test_per_train(members[key], split) for key in tables}
    return Side(str(path), tables, {key: value for key, value in ratios.items() if value})


def no_predictions(path: Path, split: str) -> InputError:
    """The error for a run without an evaluation; names the command that makes it."""
    command = shell_command("evaluate", workdir=path, **parse_stem(split)._asdict())
    return InputError(
        f"{path}/evaluate/{split}{SUFFIX}: there is no such file; run {command} first."
    )


def read_reports(path: str | Path, split: str = "test") -> list[EvaluationReport]:
    """The reports that belong to the predictions of `read_side`; none for a file.

    Raises:
      InputError: one is missing or cannot be read.
    """
    reports = []
    for folder in members_of(Path(path), f"{split}{SUFFIX}").values():
        path = folder / "evaluate" / f"{split}.json"
        report = read_report(path)
        if report is None:
            raise InputError(f"{path}: there is no such report; {way_out(path)}.")
        reports.append(report)
    return reports


def members_of(path: Path, name: str) -> dict[Member, Path]:
    """Folders of the runs with such predictions: those below `path`, or else `path`."""
    members = {}
    for folder in path.glob("seed*/fold*"):
        found = re.fullmatch(r"seed(\d+)/fold(\d+)", folder.relative_to(path).as_posix())
        if found and (folder / "evaluate" / name).is_file():
            members[int(found[1]), int(found[2])] = folder
    if not members and (path / "evaluate" / name).is_file():
        members = {(0, 0): path}
    return members


def _test_per_train(folder: Path, split: str) -> float | None:
    try:
        counts = json.loads((folder / "env.json").read_text(encoding="utf-8"))
        examples = counts["dataset"]["examples"]
        return examples[parse_stem(split).split] / examples["train"]
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError):
        return None
