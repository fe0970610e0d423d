"""Facts about the results of a run; "" stands for a fact that the run does not store."""

from collections.abc import Callable, Mapping, Sequence

from cervix_jax.evaluate.predictions_file import SUFFIX
from cervix_jax.evaluate.report_file import TITLES, Metric, interval_text
from cervix_jax.report.checklist.study import Study
from cervix_jax.statistics.resampling import RESAMPLES

_CONFUSED = 5  # pairs of classes named in the failure analysis


def _metrics(study: Study) -> str:
    names = [title.partition(" (")[0] for name, title in TITLES.items()
             if name in study.report.metrics]  # fmt: skip
    return f"{', '.join(names)}; by class sensitivity, specificity and AUROC." if names else ""


def _intervals(study: Study) -> str:
    if not study.report.metrics:
        return ""
    warning = f" {study.report.warning}" if study.report.warning else ""
    return (
        "95 % intervals: Wilson for proportions, and for all metrics the bootstrap over whole "
        f"groups ({RESAMPLES:,} resamples, {study.report.groups} groups).{warning}"
    )


def _results(study: Study) -> str:
    found = [f"{title} {study.report.metrics[name]}" for name, title in TITLES.items()
             if name in study.report.metrics]  # fmt: skip
    return f"On {study.report.n} images: {'; '.join(found)}." if found else ""


def _by_class(study: Study) -> str:
    rows = [
        f"{name}: sensitivity {found['sensitivity']}, specificity {found['specificity']}, AUROC "
        f"{found['auroc']}"
        for name, found in study.report.per_class.items()
    ]
    return "; ".join(rows) + "." if rows else ""


def _clusters(study: Study) -> str:
    accuracy = study.report.metrics.get("accuracy")
    if study.report.leakage is None or accuracy is None:
        return ""
    return (
        f"Accuracy {study.report.accuracy:.4f}, 95 % by resampling the {study.report.groups} "
        f"groups {interval_text(accuracy.interval_by_group)}."
    )


def classes_tested(study: Study) -> str:
    """Evaluated images by class."""
    counts = [sum(row) for row in study.report.confusion_matrix]
    pairs = zip(study.report.class_names, counts, strict=True)
    return f"Evaluated images by class: {', '.join(f'{name} {n}' for name, n in pairs)}."


def _calibration(study: Study) -> str:
    if study.decisions is None:
        return ""
    scaling = study.decisions["temperature"]
    before, after = (
        {name: Metric.of(scaling[when][name]) for name in ("nll", "ece_equal_width")}
        for when in ("before", "after")
    )
    return (
        f"Temperature {scaling['temperature']:.3f}, fitted on {scaling['n']} validation images. "
        f"Calibration error {before['ece_equal_width']} before and {after['ece_equal_width']} "
        f"after; negative log-likelihood {before['nll']} before and {after['nll']} after."
    )


def _thresholds(study: Study) -> str:
    points = (study.decisions or {}).get("operating_points", {})
    if points.get("chosen_on") != "val":
        return ""
    rows = [
        f"{name} from a probability of {row['threshold']:.4f} ({row['held']} {row['target']:g} "
        f"on validation images): sensitivity {Metric.of(row['sensitivity'])}, specificity "
        f"{Metric.of(row['specificity'])}"
        for name, found in points["per_class"].items()
        for row in found
        if "threshold" in row
    ]
    return "; ".join(rows) + "." if rows else ""


def _robustness(study: Study) -> str:
    rows: Sequence[tuple[str, str, str]] = study.contents["changes"]
    found = "; ".join(f"{name} {value}" for name, _, value in rows)
    return f"Accuracy on changed test images: {found}." if rows else ""


def _explanations(study: Study) -> str:
    measured = study.contents["measured"]
    if not measured:
        return ""
    methods = dict.fromkeys(name for table in measured["tables"] for name, _ in table["rows"])
    return f"{measured['headline']} Methods: {', '.join(methods)}."


def _external(study: Study) -> str:
    rows: Sequence[Mapping[str, str]] = study.contents["externals"]
    found = "; ".join(
        f"{row['name']}: {row['images']} images, accuracy {row['accuracy']}, leakage "
        f"{row['leakage']}"
        for row in rows
    )
    return f"{found}." if rows else ""


def _failures(study: Study) -> str:
    matrix, names = study.report.confusion_matrix, study.report.class_names
    confused = sorted(
        (
            (count, true, called)
            for true, row in zip(names, matrix, strict=True)
            for called, count in zip(names, row, strict=True)
            if true != called and count
        ),
        key=lambda each: -each[0],
    )
    wrong = sum(count for count, _, _ in confused)
    most = ", ".join(f"{true} as {called} {n}" for n, true, called in confused[:_CONFUSED])
    text = f"{wrong} of {study.report.n} images were classified wrongly"
    return f"{text}; most often {most}." if most else f"{text}."


def _confusion(study: Study) -> str:
    names = study.report.class_names
    rows = [
        f"{true}: {', '.join(f'{n} {called}' for called, n in zip(names, row, strict=True) if n)}"
        for true, row in zip(names, study.report.confusion_matrix, strict=True)
        if sum(row)
    ]
    return f"By true class, the predicted classes: {'; '.join(rows)}."


def _limits(study: Study) -> str:
    return " ".join(study.contents["limits"])


def _stored(study: Study) -> str:
    path = study.folder / "evaluate" / f"{study.stem}{SUFFIX}"
    if not path.is_file():
        return ""
    return f"evaluate/{path.name} stores the probabilities of each of the {study.report.n} images."


FINDINGS: Mapping[str, Callable[[Study], str]] = {
    "metrics": _metrics,
    "intervals": _intervals,
    "results": _results,
    "by_class": _by_class,
    "clusters": _clusters,
    "classes_tested": classes_tested,
    "calibration": _calibration,
    "thresholds": _thresholds,
    "robustness": _robustness,
    "explanations": _explanations,
    "external": _external,
    "failures": _failures,
    "confusion": _confusion,
    "limits": _limits,
    "stored": _stored,
}
