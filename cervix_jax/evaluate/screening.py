"""The screening view of an evaluation: abnormal against normal, read from its report."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from cervix_jax.data import classes
from cervix_jax.evaluate.report_file import EvaluationReport, Metric

ABNORMAL = classes.NORMAL_ABNORMAL.names[1]


@dataclasses.dataclass(frozen=True)
class Point:
    """Result at a threshold.

    Attributes:
      held: "specificity" or "sensitivity": the quantity that was fixed when choosing the threshold.
      target: its fixed value.
      chosen_on: "val", or "the same data", which makes the result optimistic.
      found: the other quantity on the evaluated data.
      kept: the fixed quantity on the evaluated data.
    """

    held: str
    target: float
    chosen_on: str
    found: Metric
    kept: Metric

    @property
    def measured(self) -> str:
        """Name of the quantity that was not fixed."""
        return "sensitivity" if self.held == "specificity" else "specificity"


@dataclasses.dataclass(frozen=True)
class Screening:
    """Abnormal against normal.

    Attributes:
      negative: classes that count as normal.
      positive: classes to detect.
      auroc: AUROC of the summed probability of the abnormal classes.
      points: results at thresholds chosen on validation images, or else on the same data.
      curve: see `statistics.decision_curve`; None in reports of earlier versions.
      calibrated: the same after temperature scaling on validation images, or None.
    """

    negative: tuple[str, ...]
    positive: tuple[str, ...]
    auroc: Metric
    points: Sequence[Point]
    curve: Mapping[str, Any] | None
    calibrated: Mapping[str, Any] | None

    @classmethod
    def of(
        cls, values: Mapping[str, Any], decisions: Mapping[str, Any] | None = None
    ) -> "Screening | None":
        """From the contents of `<name>.json` and `<name>_decisions.json`.

        Returns:
          None if no class is known to be negative, or the report is of version 0.1.
        """
        report = EvaluationReport.of(values)
        abnormal = classes.screening(report.class_names)
        if abnormal is None or not report.metrics:
            return None
        joined = values["hierarchy"].get("2", values)
        settled = (decisions or values)["operating_points"]
        return cls(
            tuple(n for n, bad in zip(report.class_names, abnormal, strict=True) if not bad),
            tuple(n for n, bad in zip(report.class_names, abnormal, strict=True) if bad),
            Metric.of(joined["per_class"][ABNORMAL]["auroc"]),
            [
                _point(row, settled["chosen_on"])
                for row in settled["per_class"][ABNORMAL]
                if "threshold" in row
            ],
            values.get("decision_curve"),
            (decisions or {}).get("decision_curve"),
        )

    @property
    def title(self) -> str:
        """The abnormal classes against the normal ones."""
        return f"{', '.join(self.positive)} against {', '.join(self.negative)}"


def _point(row: Mapping[str, Any], chosen_on: str) -> Point:
    held, other = row["held"], "sensitivity"
    if held == other:
        other = "specificity"
    return Point(held, row["target"], chosen_on, Metric.of(row[other]), Metric.of(row[held]))


def useful_range(curve: Mapping[str, Any]) -> str:
    """Thresholds at which using the predictions has more net benefit than treating all or none."""
    thresholds, gains = curve["thresholds"], curve["gain_interval_by_group"]
    better = [interval is not None and interval[0] > 0 for interval in gains]
    runs, start = [], None
    for number, is_better in enumerate([*better, False]):
        if is_better and start is None:
            start = number
        elif not is_better and start is not None:
            runs.append(_range(thresholds[start], thresholds[number - 1]))
            start = None
    if not runs:
        return "net benefit exceeds that of treating all and none (95 %, by group) at no threshold"
    text = "net benefit exceeds that of treating all and none (95 %, by group) at thresholds"
    return f"{text} {', '.join(runs)}"


def _range(low: float, high: float) -> str:
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"
