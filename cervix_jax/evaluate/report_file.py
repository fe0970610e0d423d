"""The report of an evaluation, `evaluate/<name>.json`: how to make it and read it.

    {"n": 300, "accuracy": 0.9, "accuracy_interval": [0.861, 0.929],
     "class_names": [...], "confusion_matrix": [[...], ...],         # rows true, columns predicted
     "dataset": "sipakmed/single_cell", "data_title": "sipakmed/single_cell", "split": "test",
     "protocol": "cluster", "fold": 0, "folds": 5, "refit": false, "groups": 60,
     "leakage": 0.0, "leakage_train": 0.0, "step": 650, "tta": false,
     "adapt": null,           # "all" or "group": images that the batch statistics come from
     "intervals": {...},                                             # how they were computed
     "metrics": {"accuracy": ENTRY, "macro_f1": ENTRY, "nll": ENTRY, ...},
     "per_class": {"Parabasal": {"sensitivity": ENTRY, "auroc": ENTRY, ...}, ...},
     "hierarchy": {"2": {"class_names", "confusion_matrix", "metrics", "per_class"}},
     "operating_points": {"chosen_on", "per_class": {...}},
     "decision_curve": {"positive", "n", "prevalence", "thresholds": [...], "net_benefit": [...],
       "interval_by_group": [...], "treat_all": [...], "gain": [...],
       "gain_interval_by_group": [...]} or null,   # null if no class is known to be negative
     "aggregation": {"groups", "mixed", "accuracy": {"vote": ENTRY, ...}} or null}

Every metric is an ENTRY with the same keys. `estimate` is the value. `interval` is the 95 %
interval by its `method`: "wilson", which assumes independent images, or "bootstrap over groups".
`interval_by_group` is always the bootstrap over whole groups. `n` is the number of examples
counted. A proportion also has `successes`. If `estimate` or an interval is null, `why` holds the
reason.
`accuracy`, `accuracy_interval` and `n` repeat those of `metrics.accuracy`; other programs rely on
these flat keys, and only `make_report` writes them. `leakage` is the share of the examples whose
group also occurs in train or val, the model's own data; `leakage_train` counts train
only. `protocol`, `leakage` and `step` are null or absent for a file of predictions.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cervix_jax.errors import InputError, shell_command
from cervix_jax.evaluate.stems import parse_stem
from cervix_jax.files.atomic import read_json
from cervix_jax.statistics.performance import performance
from cervix_jax.statistics.resampling import Resamples
from cervix_jax.statistics.table import PredictionTable

# Displayed names of the metrics on pages and cards.
TITLES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "macro_auroc": "macro AUROC",
    "matthews": "Matthews' correlation",
    "cohen_kappa": "Cohen's kappa",
    "nll": "negative log-likelihood (lower is better)",
    "brier": "Brier score (lower is better)",
    "ece_equal_width": "calibration error (lower is better)",
}
REQUIRED = (
    "dataset", "split", "n", "accuracy", "accuracy_interval", "class_names", "confusion_matrix",
    "groups",
)  # fmt: skip
Interval = tuple[float, float]


def make_report(
    table: PredictionTable, facts: Mapping[str, Any], resamples: Resamples
) -> dict[str, Any]:
    """Make the contents of `<name>.json`.

    Args:
      table: labelled predictions.
      facts: further entries: `dataset, split, protocol, ...`.
      resamples: bootstrap resamples of the groups of `table`.
    """
    found = performance(table, resamples)
    accuracy = found["metrics"]["accuracy"]
    flat = {
        "n": accuracy["n"],
        "accuracy": accuracy["estimate"],
        "accuracy_interval": accuracy["interval"],
        "class_names": found["class_names"],
        "confusion_matrix": found["confusion_matrix"],
        "groups": resamples.num_groups,
    }
    return flat | dict(facts) | found


@dataclasses.dataclass(frozen=True)
class Metric:
    """An entry of the report.

    Attributes:
      estimate: the value; None if it is undefined.
      interval: 95 % interval by `method`.
      interval_by_group: 95 % interval by the bootstrap over whole groups.
      n: number of examples counted.
      method: "wilson", "bootstrap over groups" or "basic bootstrap over groups".
      why: reason if a value is None, else "".
      successes: number of successes out of `n`, for a proportion.
    """

    estimate: float | None
    interval: Interval | None
    interval_by_group: Interval | None
    n: int
    method: str
    why: str = ""
    successes: int | None = None

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> "Metric":
        """From JSON; keys that only some metrics have are ignored."""
        given = {f.name: entry[f.name] for f in dataclasses.fields(cls) if f.name in entry}
        for name in ("interval", "interval_by_group"):
            given[name] = _pair(given[name])
        return cls(**given)

    def __str__(self) -> str:
        """The estimate with its interval, or the reason why it is undefined."""
        if self.estimate is None:
            return f"undefined ({self.why})"
        return f"{self.estimate:.4f} ({interval_text(self.interval)})"


def interval_text(interval: Interval | None) -> str:
    """`0.861 to 0.929`, or "no interval"."""
    return "no interval" if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}"


@dataclasses.dataclass(frozen=True)
class EvaluationReport:
    """A report read from JSON; facts that are unknown for a file of predictions are None.

    Attributes:
      where: name of the report in error messages.
      accuracy_interval: Wilson, 95 %.
      confusion_matrix: rows true, columns predicted.
      fold: a list of folds for an ensemble over folds.
      data_title: displayed name of the data set, for a folder its name; see `title`.
      warning: limitation of the intervals, or "".
      metrics: by name; empty in reports of earlier versions, see `metric`.
      per_class: by class and name; otherwise as `metrics`.
    """

    where: str
    dataset: str
    split: str
    n: int
    accuracy: float
    accuracy_interval: Interval
    class_names: tuple[str, ...]
    confusion_matrix: tuple[tuple[int, ...], ...]
    groups: int
    protocol: str | None
    leakage: float | None
    leakage_train: float | None = None
    fold: int | Sequence[int] | None = None
    folds: int | None = None
    refit: bool = False
    step: int | None = None
    tta: bool = False
    adapt: str = ""
    members: int = 1
    data_title: str = ""
    warning: str = ""
    metrics: Mapping[str, Metric] = dataclasses.field(default_factory=dict)
    per_class: Mapping[str, Mapping[str, Metric]] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, values: Mapping[str, Any], where: str | Path = "the report") -> "EvaluationReport":
        """From JSON.

        Raises:
          InputError: an entry is missing or has the wrong type.
        """
        missing = [name for name in REQUIRED if values.get(name) is None]
        if missing:
            raise InputError(f"{where}: has no {missing[0]}; {way_out(where)}.")
        own = {f.name for f in dataclasses.fields(cls)} - {"where", "metrics", "per_class"}
        given = {name: values[name] for name in own & values.keys() if values[name] is not None}
        try:
            metrics = {name: Metric.of(entry) for name, entry in values.get("metrics", {}).items()}
            per_class = (
                {
                    name: {key: Metric.of(entry) for key, entry in entries.items()}
                    for name, entries in values["per_class"].items()
                }
                if metrics  # reports of earlier versions have other rows in per_class
                else {}
            )
            given |= {
                "accuracy_interval": _pair(values["accuracy_interval"]),
                "class_names": tuple(values["class_names"]),
                "confusion_matrix": tuple(tuple(row) for row in values["confusion_matrix"]),
                "protocol": values.get("protocol"),
                "leakage": values.get("leakage"),
                "warning": values.get("intervals", {}).get("warning", ""),
            }
            return cls(where=str(where), metrics=metrics, per_class=per_class, **given)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{where}: is damaged or has another format ({type(error).__name__}: {error}); "
                f"{way_out(where)}."
            ) from error

    @property
    def title(self) -> str:
        """Displayed name of the data set."""
        return self.data_title or self.dataset

    def metric(self, name: str, class_name: str | None = None) -> Metric:
        """A metric over all images, or of one class against the others.

        Raises:
          InputError: the report is of an earlier version, or lacks the metric.
        """
        known = self.metrics if class_name is None else self.per_class.get(class_name, {})
        if name not in known:
            raise InputError(
                f"{self.where}: was written by an earlier version, without "
                f"{name if class_name is None else f'{name} of {class_name}'}; "
                f"{way_out(self.where)}."
            )
        return known[name]


def read_report(path: str | Path) -> EvaluationReport | None:
    """The report in a file; None if the file does not exist.

    Raises:
      InputError: it cannot be read.
    """
    found = read_json(path)
    return None if found is None else EvaluationReport.of(found, path)


def way_out(where: str | Path) -> str:
    """How to make the report again: the command for a run's `<workdir>/evaluate/<split>.json`."""
    folder, stem = Path(where).parent, Path(where).stem
    if folder.name != "evaluate" or not (folder.parent / "config.json").exists():
        return "evaluate again"
    split, tta, adapt = parse_stem(stem)
    command = shell_command(
        "evaluate",
        workdir=folder.parent,
        split=None if split == "test" else split,
        tta=tta,
        adapt=adapt,
    )
    return f"run {command} again"


def _pair(interval: Sequence[float] | None) -> Interval | None:
    return None if interval is None else (float(interval[0]), float(interval[1]))
