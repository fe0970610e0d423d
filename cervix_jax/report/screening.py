"""Results of a run as a screening test, abnormal against normal, for the page."""

from pathlib import Path
from typing import Any

from cervix_jax.errors import InputError
from cervix_jax.evaluate.report_file import Metric, interval_text, way_out
from cervix_jax.evaluate.screening import Screening, useful_range
from cervix_jax.figures.html import encoded_uri
from cervix_jax.files.atomic import read_json


def read_screening(folder: Path, stem: str) -> dict[str, Any] | None:
    """The section on screening, or None if no class is known to be negative.

    Args:
      folder: folder of the evaluation.
      stem: common beginning of the names of its files.

    Raises:
      InputError: a file cannot be read.
    """
    path = folder / f"{stem}.json"
    try:
        found = Screening.of(read_json(path) or {}, read_json(folder / f"{stem}_decisions.json"))
    except (AttributeError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} or {stem}_decisions.json is damaged "
            f"({type(error).__name__}: {error}); {way_out(path)}."
        ) from error
    if found is None:
        return None
    picture = folder / f"{stem}_decision_curve.png"
    return {
        "title": found.title,
        "auroc": _both(found.auroc),
        "chosen_on_validation": bool(found.points) and found.points[0].chosen_on == "val",
        "points": [
            {
                "held": f"{point.held} {point.target:g}",
                "name": point.measured,
                "found": _both(point.found),
                "kept": str(point.kept),
            }
            for point in found.points
        ],
        "picture": encoded_uri(picture.read_bytes()) if picture.is_file() else "",
        "prevalence": f"{found.curve['prevalence']:.1%}" if found.curve else "",
        "useful": useful_range(found.curve) if found.curve else "",
    }


def _both(metric: Metric) -> str:
    """A metric with both of its intervals if they differ."""
    if metric.interval == metric.interval_by_group:
        return str(metric)
    return f"{metric}; by group {interval_text(metric.interval_by_group)}"
