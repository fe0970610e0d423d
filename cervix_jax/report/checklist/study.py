"""Sources of the facts for the reporting checklists."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from cervix_jax.evaluate.report_file import EvaluationReport


class Study(NamedTuple):
    """A run and one evaluation of it.

    Attributes:
      folder: the run's folder.
      stem: common beginning of the names of the evaluation's files, e.g. "test".
      config: flat fields of its config.
      environment: content of `env.json`; {} if the file is missing.
      report: the evaluation.
      decisions: temperature and thresholds chosen on validation images, or None.
      contents: content of the page, see `cervix_jax.report.contents`.
    """

    folder: Path
    stem: str
    config: Mapping[str, Any]
    environment: Mapping[str, Any]
    report: EvaluationReport
    decisions: Mapping[str, Any] | None
    contents: Mapping[str, Any]
