"""Texts and tables of the page, read from a run's folder; the page names parts that are missing."""

from pathlib import Path
from typing import Any

import ml_collections

from cervix_jax import __version__
from cervix_jax.data.decode import needs_scale, views_of
from cervix_jax.data.splits import ONE_SPLIT, UNKNOWN_GROUPS
from cervix_jax.errors import InputError, shell_command
from cervix_jax.evaluate.external import FOLDER, SPLIT
from cervix_jax.evaluate.report_file import TITLES, EvaluationReport, interval_text, read_report
from cervix_jax.explanations import summary
from cervix_jax.figures.html import encoded_uri
from cervix_jax.files.atomic import read_json
from cervix_jax.report.checklist.facts import read_facts
from cervix_jax.report.checklist.table import fill_in
from cervix_jax.report.external import external_contents, external_reports, read_externals
from cervix_jax.report.screening import read_screening
from cervix_jax.runs import workdir

PICTURES = (
    ("reliability", "Reliability diagram: accuracy against predicted probability"),
    ("roc", "ROC curve of each class against all other classes"),
)


def read_contents(folder: Path, split: str, external: str = "") -> dict[str, Any]:
    """Everything on the page except the gallery.

    Args:
      folder: the run's folder.
      split: the split whose evaluation is shown.
      external: name of an external validation to show instead of the split.

    Raises:
      InputError: the evaluation does not exist, or a file cannot be read.
    """
    place, stem = evaluation_of(folder, split, external)
    path = place / f"{stem}.json"
    report = read_report(path)
    if report is None:
        raise _not_evaluated(path, folder, split, external)
    config = workdir.read_config(folder)
    try:
        found = _contents(folder, split, config, report)
        found["screening"] = read_screening(place, stem)
        found["checklists"] = []
        if not external:
            facts = read_facts(folder, split, config, report, found)
            found["checklists"] = fill_in(facts)
        else:
            facts = (read_json(path) or {})["external"]
            found |= external_contents(report, facts) | {
                "title": f"{config.model.name}, trained on {facts['trained_on']}, "
                f"tested on {report.title}",
                "pictures": _pictures(place, stem),
                "changes": [],
                "measured": None,
            }
        return found
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{folder}/env.json or audit/audit.json is damaged "
            f"({type(error).__name__}: {error}); restore or remove the damaged file."
        ) from error


def evaluation_of(folder: Path, split: str, external: str) -> tuple[Path, str]:
    """The folder of an evaluation, and the common beginning of its file names."""
    return (folder / FOLDER / external, SPLIT) if external else (folder / "evaluate", split)


def _not_evaluated(path: Path, folder: Path, split: str, external: str) -> InputError:
    if not external:
        command = shell_command("evaluate", workdir=folder, split=split)
        return InputError(f"{path} does not exist; run {command} first.")
    known = [found.parent.name for found in external_reports(folder)]
    there = f"available: {', '.join(known)}" if known else "the run has none yet"
    return InputError(
        f"--external={external}: {path} does not exist; {there}. Make one with evaluate --on, e.g. "
        f"{shell_command('evaluate', workdir=folder, on='herlev/default')}"
    )


def _contents(
    folder: Path, split: str, config: ml_collections.ConfigDict, report: EvaluationReport
) -> dict[str, Any]:
    return {
        "title": f"{config.model.name} on {_data_title(config, report)}",
        "hints": {name: shell_command(name, workdir=folder) for name in ("explain", "audit")},
        "leakage": UNKNOWN_GROUPS if report.leakage is None else f"{report.leakage:.1%}",
        "external": None,
        "externals": read_externals(folder),
        "version": __version__,
        "report": report,
        "model": _model(config, report),
        "data": _data(config, report),
        "environment": _environment(read_json(folder / "env.json") or {}),
        "metrics": [
            (title[0].upper() + title[1:], str(report.metric(name)))
            for name, title in TITLES.items()
        ],
        "by_group": interval_text(report.metric("accuracy").interval_by_group),
        "classes": _classes(report),
        "confusion": _confusion(report),
        "pictures": [
            *_pictures(folder / "evaluate", split),
            *_drawn([(folder / "learning_curves.png", "Learning curves: loss, accuracy by epoch")]),
        ],
        "changes": _changes(read_json(folder / "audit" / "audit.json"), report.step),
        "measured": _measured(folder / "explain" / _subfolder(split), report),
        "limits": _limits(_data_title(config, report), report),
    }


def _model(config: ml_collections.ConfigDict, report: EvaluationReport) -> list[tuple[str, str]]:
    start = config.model.init_from or "random weights"
    if not start.startswith(("hf:", "package:", "random")):
        start = Path(start).name
    attention = config.model.attention or "none"
    return [
        ("Network", config.model.name),
        ("Channel attention", attention.replace("_", " ")),
        ("Initial weights", start),
        ("Images", f"{config.image_size} by {config.image_size} pixels, {_resized(config.data)}"),
        ("Training", f"at most {config.num_epochs} epochs of {config.optimizer.name}, batches of "
         f"{config.batch_size}, learning rate {config.learning_rate:g}, seed {config.seed}"),
        ("Checkpoint step", str(report.step)),
    ]  # fmt: skip


def _resized(wanted: ml_collections.ConfigDict) -> str:
    if not needs_scale(wanted.resize):
        return str(wanted.resize)
    before = "" if wanted.resize == "scale" else f"{views_of(wanted.resize)[0]} and "
    return f"{before}scaled to {wanted.microns_per_pixel:g} micrometres a pixel"


def _data_title(config: ml_collections.ConfigDict, report: EvaluationReport) -> str:
    """Readable name of the data; earlier versions stored none for a folder of own images."""
    own = report.dataset.startswith("image_folder/") and not report.data_title
    return (Path(config.data.manual_dir).name if own else "") or report.title


def _data(config: ml_collections.ConfigDict, report: EvaluationReport) -> list[tuple[str, str]]:
    protocol = report.protocol or "unknown"
    if protocol not in ONE_SPLIT:
        protocol += f", fold {report.fold} of {report.folds}"
    if report.refit:
        protocol += "; the validation images were also used for training"
    title = _data_title(config, report)
    return [
        ("Data set", title if title == report.dataset else f"{title} ({report.dataset})"),
        ("Split protocol", protocol),
        ("Evaluated on", f"{report.n} images of {report.groups} groups ({report.split})"),
        ("Leakage", UNKNOWN_GROUPS if report.leakage is None else
         f"{report.leakage:.1%} of these images belong to a group (cluster, slide) "
         "that also has images in training or validation"),
    ]  # fmt: skip


def _environment(found: dict) -> list[tuple[str, str]]:
    versions = found.get("versions", {})
    return [
        ("Made with", ", ".join(f"{name} {version}" for name, version in versions.items())),
        ("On", f"{found.get('processor', 'unknown')}; {', '.join(found.get('devices', []))}"),
        ("Commit", found.get("git_commit") or "unknown"),
    ]


def _classes(report: EvaluationReport) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "support": report.metric("sensitivity", name).n,
        }
        | {key: str(report.metric(key, name)) for key in ("sensitivity", "specificity", "auroc")}
        for name in report.class_names
    ]


def _confusion(report: EvaluationReport) -> list[tuple[str, list[tuple[int, float]]]]:
    """Each true class with its counts by predicted class and their shares of the true class."""
    rows = []
    for name, counts in zip(report.class_names, report.confusion_matrix, strict=True):
        total = max(sum(counts), 1)
        rows.append((name, [(count, count / total) for count in counts]))
    return rows


def _pictures(folder: Path, stem: str) -> list[tuple[str, str]]:
    return _drawn([(folder / f"{stem}_{name}.png", text) for name, text in PICTURES])


def _drawn(files: list[tuple[Path, str]]) -> list[tuple[str, str]]:
    """The pictures that exist, as data URIs, with their captions."""
    return [(encoded_uri(path.read_bytes()), text) for path, text in files if path.is_file()]


def _changes(audit: dict | None, step: int | None) -> list[tuple[str, str, str]]:
    """Accuracy of the run on changed test images, if `audit` measured it for this checkpoint."""
    if audit is None or audit.get("step") != step:
        return []
    return [
        (
            name,
            each["description"],
            f"{each['accuracy']:.4f} ({each['accuracy_interval'][0]:.3f} to "
            f"{each['accuracy_interval'][1]:.3f})",
        )
        for name, each in audit["changes"].items()
    ]


def _subfolder(split: str) -> str:
    return "" if split == "test" else split


def _measured(folder: Path, report: EvaluationReport) -> dict[str, Any] | None:
    """Tables that measure the explanations, if they belong to the same data, split and step."""
    path = folder / "measures.json"
    found = read_json(path)
    same = ("dataset", "split", "step")
    if found is None or any(found.get(name) != getattr(report, name) for name in same):
        return None
    try:
        return {"headline": summary.headline(found), "tables": summary.tables(found)}
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} is damaged or was written by an earlier version ({error!r}); run explain "
            "again or remove the file."
        ) from error


def _limits(title: str, report: EvaluationReport) -> list[str]:
    limits = [
        "Research use only; not for clinical use. No clinical validation was made.",
        f"The model was trained on {title} only. Other stains, scanners, magnifications and "
        "preparations were not tested; expect lower accuracy on them.",
        "The model assigns one of its classes to any image, even to an image without a cell.",
        "Groups are clusters or slides, not necessarily patients: images of one patient may be in "
        "both the training set and the test set.",
        "Explanations show which pixels the score depends on. They do not show that the model uses "
        "the features that a cytologist uses.",
    ]
    if report.leakage:
        limits.insert(
            1,
            "Because of the leakage stated above, these results overestimate the performance on "
            "new slides.",
        )
    return limits
