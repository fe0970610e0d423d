"""External validation, `evaluate --on`: a run evaluated on labelled images from elsewhere.

    report = evaluate_on("runs/rcan", "hospital_b/", class_map={"HSIL": "high grade"})
    report["external"]["seen"]["images"]        # number of images that the run trained on

Results go to `<workdir>/external/<name>/`: `external.json` (as `evaluate/test.json`, plus an entry
`external`), `external_predictions.csv`, `external_decisions.json`, pictures, `external_seen.csv`
(images that the run was trained or validated on) and `external_skipped.csv` (images that cannot be
read). The run's own `evaluate/` does not change.
"""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cervix_jax.data.class_map import ClassMap, absent_classes
from cervix_jax.data.identity import MADE_WITH
from cervix_jax.data.splits import groups_known
from cervix_jax.errors import InputError
from cervix_jax.evaluate.labelled_images import FOLDERS, is_data_set, open_labelled
from cervix_jax.evaluate.labels import holds_predictions
from cervix_jax.evaluate.report_file import make_report
from cervix_jax.evaluate.seen import Seen, seen_by, unknown
from cervix_jax.evaluate.stems import stem_of
from cervix_jax.evaluate.tried import PREDICTIONS, Tried, predict_labelled, read_predictions
from cervix_jax.evaluate.write import stored, write_report
from cervix_jax.files.atomic import read_json, write_text
from cervix_jax.files.paths import user_path
from cervix_jax.runs.run import Run, as_classifier
from cervix_jax.statistics.resampling import Resamples
from cervix_jax.statistics.table import PredictionTable

FOLDER = "external"
SPLIT = "external"


def evaluate_on(
    run: Run | str | Path,
    on: str | Path,
    *,
    name: str = "",
    labels: str | Path = "",
    class_map: ClassMap | None = None,
    tta: bool = False,
    manual_dir: str = "",
    data_dir: str = "",
    settings: Mapping[str, Any] | None = None,
    check_counts: bool = True,
    out: str | Path | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Evaluate a run on labelled images from elsewhere, and check for its own training images.

    Args:
      run: a trained run, or its folder.
      on: a data set, a folder or a list, see `labelled_images.open_labelled`. A table of this run's
        predictions, as `predict` writes it, also works; its images are not predicted again.
      name: name of the output folder; default: the last part of `on`.
      labels: CSV of labels for a table of predictions, see `labels.read_labels`.
      class_map: classes with another name in the data, see
        `cervix_jax.data.class_map.match_classes`.
      tta: average the probabilities over 8 rotated and mirrored views; the files are then named
        `external_tta...`.
      manual_dir: raw files of a data set; this and the next three arguments are those of
        `cervix_jax.data.catalog.load`.
      data_dir: prepared data.
      settings: settings of the data set; for a folder those of `image_folder`, such as
        `group_pattern`.
      check_counts: require the official number of images.
      out: output folder; default `<workdir>/external/<name>`.
      progress: show a progress bar.

    Returns:
      The contents of `external.json`. `leakage` is the share of images that the run was trained or
      validated on, or that share a group with such images; None if unknown.

    Raises:
      InputError: the images or labels cannot be used, a class is not one of the run's, or the
        output folder holds an evaluation on other images.
    """
    run = as_classifier(run)
    if out is None and run.workdir is None:
        raise InputError("out: a run that was not loaded from a folder needs an output folder.")
    place = user_path(on)
    found = None
    if not is_data_set(str(on)) and place.is_file() and holds_predictions(place):
        if tta:
            raise InputError(f"--tta: {on} already holds predictions; leave --tta out.")
        source, kind = str(place.resolve()), PREDICTIONS
        given: dict[str, Any] = {}
    else:
        if labels and (is_data_set(str(on)) or place.exists()):
            raise InputError(
                f"--labels={labels}: only for a table of predictions; {on} has its own labels. "
                "Leave --labels out."
            )
        manual_dir, data_dir, given = _own_places(run, on, manual_dir, data_dir, settings or {})
        found = open_labelled(
            on, manual_dir=manual_dir, data_dir=data_dir, settings=given, check_counts=check_counts
        )
        source, kind = found.source, found.kind
    folder = user_path(out) if out is not None else place_of_external(run, on, name)
    stem = stem_of(SPLIT, tta=tta)
    facts = {
        "source": source,
        "kind": kind,
        "settings": given,
        "manual_dir": str(Path(manual_dir).resolve()) if manual_dir else "",
        "data_dir": str(Path(data_dir).resolve()) if data_dir else "",
        "check_counts": check_counts,
        "labels": str(Path(labels).resolve()) if labels else "",
        "class_map": {key: value for key, value in (class_map or {}).items()},
    }
    _refuse_other(folder / f"{stem}.json", facts, name)
    if found is None:
        tried = read_predictions(run, place, labels, class_map)
    else:
        tried = predict_labelled(run, found, class_map, tta=tta, progress=progress)
    return _write(run, tried, folder, stem, facts, class_map, tta=tta)


def place_of_external(run: Run, on: str | Path, name: str = "") -> Path:
    """The default output folder of `evaluate_on`, `<workdir>/external/<name>`.

    Args:
      run: a run loaded from a folder.
      on: see `evaluate_on`.
      name: see `evaluate_on`; default: the last part of a path, or the whole name of a data set,
        reduced to letters, digits, `_`, `-` and `.`.

    Raises:
      InputError: the name is not valid for a folder.
    """
    if not name:
        path = user_path(on).resolve()
        last = str(on) if is_data_set(str(on)) else path.stem if path.is_file() else path.name
        name = re.sub(r"[^\w.-]+", "_", last).strip("._")[:100] or "images"
    if not re.fullmatch(r"[\w-][\w. -]{0,99}", name):
        raise InputError(
            f"--name={name}: use 1 to 100 letters, digits, _, - and points, without slashes."
        )
    return Path(run.workdir or "") / FOLDER / name


def _refuse_other(path: Path, facts: Mapping[str, Any], name: str) -> None:
    """Check that an existing evaluation in the folder is on the same images."""
    earlier = (read_json(path) or {}).get("external")
    if isinstance(earlier, dict) and earlier.get("source") != facts["source"]:
        raise InputError(
            f"{path.parent}: holds the evaluation on {earlier.get('source')}; give another "
            f"--name{f' than {name}' if name else ''}."
        )


def _own_places(
    run: Run, on: str | Path, manual_dir: str, data_dir: str, settings: Mapping[str, Any]
) -> tuple[str, str, dict[str, Any]]:
    """Places and settings of the data; the run's own are the defaults for its own data set."""
    given = {name: value for name, value in settings.items() if value is not None}
    identity, config = run.identity, run.config.data
    own_settings = {name: v for name, v in config.settings.items() if v is not None}
    if is_data_set(str(on)):
        if str(on) != config.dataset:
            return manual_dir, data_dir, given
        places = (identity.manual_dir, identity.data_dir) if identity else ("", "")
        return (
            manual_dir or places[0] or config.manual_dir,
            data_dir or places[1] or config.data_dir,
            given or own_settings,
        )
    if _is_own_folder(run, str(user_path(on).resolve())):
        given = given or {name: v for name, v in own_settings.items() if name != "name"}
    return manual_dir, data_dir, given


def _is_own_folder(run: Run, source: str) -> bool:
    """Whether the run was trained on this folder of images."""
    return (
        run.identity is not None
        and run.config.data.dataset == FOLDERS
        and run.identity.manual_dir == source
    )


def _write(
    run: Run,
    tried: Tried,
    folder: Path,
    stem: str,
    facts: dict[str, Any],
    class_map: ClassMap | None,
    *,
    tta: bool,
) -> dict[str, Any]:
    table = tried.table
    if tried.prints is None:
        where = f"some images of {tried.title} do not exist on this machine, so none can be "
        seen = unknown(f"unknown: {where}compared with those of the run", len(table.filenames))
    else:
        same = (
            _is_own_folder(run, tried.source) or tried.source == run.config.data.dataset != FOLDERS
        )
        groups = table.groups.tolist()
        seen = seen_by(run, tried.prints, table.filenames, groups, same_data=same)
    seen.write(folder / f"{stem}_seen.csv", table.filenames)
    _write_skipped(folder / f"{stem}_skipped.csv", tried.skipped)
    leaked = seen.leaked(*MADE_WITH)
    validation = None
    if run.workdir is not None:
        validation = stored(run.workdir / "evaluate", "val", run.step, tta=tta)
    absent = absent_classes(run.class_names, tried.class_names, class_map)
    facts = {
        "dataset": tried.title,
        "split": SPLIT,
        "protocol": None,
        "leakage": float(leaked.mean()) if seen.known else None,
        "leakage_train": float(seen.leaked("train").mean()) if seen.known else None,
        "step": run.step,
        "tta": tta,
        "external": facts
        | {
            "trained_on": run.dataset.get("title") or run.config.data.dataset,
            "groups_known": groups_known(table.filenames, table.groups.tolist()),
            "absent_classes": list(absent),
            "skipped": len(tried.skipped),
            "notes": tried.notes,
            "seen": seen.to_json(),
            "unseen": _unseen(table, leaked, seen),
        },
    }
    return write_report(folder, stem, table, facts, validation)


def _unseen(table: PredictionTable, leaked: np.ndarray, seen: Seen) -> dict[str, Any] | None:
    """Accuracy without images that the run was trained or validated on; None if all or none are."""
    if not seen.known or not leaked.any() or leaked.all():
        return None
    rest = table.take(np.flatnonzero(~leaked))
    found = make_report(rest, {}, Resamples(rest.groups))
    return {
        "n": found["n"],
        "groups": found["groups"],
        "metrics": {name: found["metrics"][name] for name in ("accuracy", "balanced_accuracy")},
    }


def _write_skipped(path: Path, skipped: Sequence[tuple[str, str]]) -> None:
    if not skipped:
        path.unlink(missing_ok=True)  # of an earlier evaluation
        return
    text = io.StringIO(newline="")
    csv.writer(text).writerows([("path", "reason"), *skipped])
    write_text(path, text.getvalue())
