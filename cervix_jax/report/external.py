"""External validations on the page: one in full, or all of a run in a table."""

from pathlib import Path
from typing import Any

from cervix_jax.errors import InputError
from cervix_jax.evaluate.external import FOLDER, SPLIT
from cervix_jax.evaluate.external_text import leakage, origin
from cervix_jax.evaluate.report_file import EvaluationReport, interval_text
from cervix_jax.files.atomic import read_json


def external_reports(folder: Path) -> list[Path]:
    """The reports of all external validations of a run, by name."""
    return sorted((folder / FOLDER).glob(f"*/{SPLIT}.json"))


def read_externals(folder: Path) -> list[dict[str, str]]:
    """A table row for every external validation of a run.

    Args:
      folder: the run's folder.

    Raises:
      InputError: a report cannot be read.
    """
    rows = []
    for path in external_reports(folder):
        values = read_json(path) or {}
        report = EvaluationReport.of(values, path)
        try:
            said = leakage(report, values["external"]).partition(": ")[0]
        except (KeyError, TypeError) as error:
            raise InputError(
                f"{path} is damaged ({error!r}); run evaluate --on again or remove the file."
            ) from error
        accuracy = report.metric("accuracy")
        rows.append(
            {
                "name": path.parent.name,
                "images": str(report.n),
                "accuracy": str(accuracy),
                "by_group": interval_text(accuracy.interval_by_group),
                "leakage": said,
            }
        )
    return rows


def external_contents(report: EvaluationReport, facts: dict[str, Any]) -> dict[str, Any]:
    """Parts of the page that differ for an external validation.

    Args:
      report: report of the evaluation.
      facts: the entry `external` of `external.json`.
    """
    seen = facts["seen"]
    limits = [
        "Research use only; not for clinical use. No clinical validation was made.",
        f"The model was trained on {facts['trained_on']} and tested on {report.title}. Other "
        "stains, scanners, magnifications and preparations were not tested.",
        "The model assigns one of its classes to any image, even to an image without a cell.",
        "The check for training images compares pixels. It finds copies, but not new photographs "
        "of the same patients or slides.",
    ]
    if seen["known"] and seen["images"]:
        limits.insert(
            1,
            "Some of these images were used to make the run, so these results overestimate its "
            "performance.",
        )
    return {
        "external": origin(report, facts)[2:],
        "externals": [],
        "leakage": leakage(report, facts).partition(": ")[0],
        "data": [
            ("Data set", report.title),
            ("Read from", f"{facts['source']} ({facts['kind']})"),
            ("Trained on", facts["trained_on"]),
            ("Evaluated on", f"{report.n} images of {report.groups} groups"),
            ("Leakage", leakage(report, facts)),
        ],
        "limits": limits,
    }
