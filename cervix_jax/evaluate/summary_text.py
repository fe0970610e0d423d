"""Short text of an evaluation for the terminal."""

from collections.abc import Mapping
from typing import Any

from cervix_jax.data.splits import ONE_SPLIT, UNKNOWN_GROUPS
from cervix_jax.detect.evaluation import TASK
from cervix_jax.detect.evaluation import summary as detection_summary
from cervix_jax.evaluate.external_text import origin
from cervix_jax.evaluate.report_file import EvaluationReport, Metric, interval_text
from cervix_jax.evaluate.screening import ABNORMAL, Screening, useful_range
from cervix_jax.statistics.aggregation import RULES

ADAPTED = "batch statistics of the images of this"


def headline(report: EvaluationReport) -> str:
    """Accuracy with its interval and the number of images."""
    interval = interval_text(report.accuracy_interval)
    return f"accuracy {report.accuracy:.4f} (95 % Wilson interval {interval}, n = {report.n})"


def summary(values: Mapping[str, Any]) -> str:
    """A report as lines of text.

    Args:
      values: the contents of `<name>.json`.
    """
    if values.get("task") == TASK:
        return detection_summary(values)
    report = EvaluationReport.of(values)
    width = max(len(name) for name in report.class_names)
    lines = [
        f"{report.split} {headline(report)}, balanced accuracy "
        f"{_number(report.metric('balanced_accuracy'), '.4f')}",
        _resampling(report),
        f"macro AUROC {report.metric('macro_auroc')}, NLL {report.metric('nll')}, "
        f"calibration error {report.metric('ece_equal_width')}",
        *_screening(Screening.of(values)),
        *(origin(report, values["external"]) if "external" in values else [_origin(report)]),
        *values.get("notes", []),  # remarks on the join with labels
        *_of_benchmark(values.get("benchmark")),
        f"{'':{width}}  precision  recall      f1  support",
    ]
    for name, found in report.per_class.items():
        rates = {key: _number(found[key], ".3f") for key in ("ppv", "sensitivity", "f1")}
        lines.append(
            f"{name:{width}}  {rates['ppv']:>9}  {rates['sensitivity']:>6}  {rates['f1']:>6}  "
            f"{found['sensitivity'].n:7d}"
        )
    return "\n".join(lines)


def _of_benchmark(found: Mapping[str, Any] | None) -> list[str]:
    """Lines on predictions evaluated with a split file: each fold, and the checks made."""
    if found is None:
        return []
    version = f", version {found['version']}" if found["version"] else ""
    lines = [f"split {found['splits']}{version}: each test image occurs exactly once"]
    if not found["folds_checked"]:
        lines[0] += "; training on test images is not checked, as the CSV has no column fold"
    names = ("accuracy", "balanced_accuracy", "macro_f1")
    for row in found["by_fold"]:
        shown = ", ".join(
            f"{name.replace('_', ' ')} {'-' if row[name] is None else format(row[name], '.4f')}"
            for name in names
        )
        lines.append(f"fold {row['fold']}: {shown} ({row['n']} images, {row['groups']} groups)")
    if found["over_folds"]:
        spread = (
            f"{name.replace('_', ' ')} {each['mean']:.4f} ± {each['sd']:.4f}"
            for name in names
            if (each := found["over_folds"][name])["mean"] is not None
        )
        lines.append(f"mean ± sd between folds: {', '.join(spread)}")
    lines += [
        f"seed {row['seed']}: accuracy {row['accuracy']:.4f}, balanced accuracy "
        f"{row['balanced_accuracy']:.4f}"
        for row in found["by_seed"]
    ]
    return lines


def decisions_summary(decisions: Mapping[str, Any]) -> str:
    """Calibration and decisions fitted on validation predictions, as lines of text.

    Args:
      decisions: the contents of `<name>_decisions.json`.
    """
    scaling = decisions["temperature"]
    before, after = (
        {name: _number(Metric.of(entry), ".4f") for name, entry in scaling[when].items()}
        for when in ("before", "after")
    )
    lines = [
        f"temperature {scaling['temperature']:.3f}, fitted on {scaling['n']} validation images: "
        f"NLL {before['nll']} -> {after['nll']}, calibration error "
        f"{before['ece_equal_width']} -> {after['ece_equal_width']}"
        f"{'; ' + scaling['why'] if 'why' in scaling else ''}"
    ]
    for method, rows in decisions["conformal"].items():
        lines += [
            f"conformal sets ({method.upper()}) for {row['target']:.0%}: coverage "
            f"{Metric.of(row['coverage'])}, {row['mean_size']['estimate']:.2f} classes on average"
            for row in rows
        ]
    for name, rows in decisions["operating_points"]["per_class"].items():
        lines += [
            f"{name} at the validation threshold for {row['held']} {row['target']:g}: sensitivity "
            f"{Metric.of(row['sensitivity'])}, specificity {Metric.of(row['specificity'])}"
            for row in rows
            if name == ABNORMAL and "threshold" in row
        ]
    return "\n".join(lines)


def aggregation_summary(values: Mapping[str, Any]) -> str:
    """Accuracy over groups by rule, as lines of text.

    Args:
      values: the contents of `<name>.json`.
    """
    found = values["aggregation"]
    if found is None:
        return "nothing to aggregate: every image is its own group"
    left_out = f"; {found['mixed']} with several labels left out" if found["mixed"] else ""
    lines = [f"accuracy over {found['groups']} groups{left_out}"]
    for rule in RULES:
        accuracy = Metric.of(found["accuracy"][rule])
        lines.append(f"{rule:20}  {accuracy}  {accuracy.successes} of {accuracy.n}")
    return "\n".join(lines)


def _screening(found: Screening | None) -> list[str]:
    if found is None:
        return []
    worth = f"; {useful_range(found.curve)}" if found.curve else ""
    return [f"abnormal against normal: AUROC {found.auroc}{worth}"]


def _number(metric: Metric, form: str) -> str:
    return "-" if metric.estimate is None else format(metric.estimate, form)


def _resampling(report: EvaluationReport) -> str:
    """Interval of the accuracy over groups, and the source of all other intervals."""
    interval = interval_text(report.metric("accuracy").interval_by_group)
    what = f"the {report.groups} groups"
    if report.groups == report.n:
        what = f"the {report.n} images (each is its own group)"
    few = f"; {report.warning}" if report.warning else ""
    return (
        f"95 % interval of the accuracy by resampling {what}: {interval}; intervals below are "
        f"computed in the same way{few}"
    )


def _origin(report: EvaluationReport) -> str:
    if report.protocol is None:
        return "protocol and leakage are unknown for a file of predictions"
    protocol = report.protocol
    if protocol not in ONE_SPLIT:
        several = None if isinstance(report.fold, int | None) else len(report.fold)
        protocol += f", {f'{several} folds' if several else f'fold {report.fold}'}"
        protocol += f" of {report.folds}"
    share = f"leakage {UNKNOWN_GROUPS}"
    if report.leakage is not None:
        share = f"{report.leakage:.1%} of the examples come from groups in train or val"
    refit = "; trained on train and val" if report.refit else ""
    views = "; mean over 8 symmetries" if report.tta else ""
    views += {"all": f"; {ADAPTED} split", "group": f"; {ADAPTED} group"}.get(report.adapt, "")
    members = f"; mean of {report.members} models" if report.members > 1 else ""
    return f"protocol {protocol}{refit}{views}{members}; {share}"
