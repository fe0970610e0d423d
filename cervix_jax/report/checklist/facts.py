"""Facts that a run stores about its study, as sentences by name."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_collections

from cervix_jax.evaluate.report_file import EvaluationReport
from cervix_jax.files.atomic import read_json
from cervix_jax.report.checklist.findings import FINDINGS
from cervix_jax.report.checklist.making import MAKING
from cervix_jax.report.checklist.study import Study
from cervix_jax.runs.workdir import flatten

FACTS = {**MAKING, **FINDINGS}
ABSENT = {
    "calibration": "No temperature was fitted. Evaluate with validation images.",
    "clusters": "The groups of the images (cluster, slide, patient) are unknown.",
    "disjoint": "The groups of the images (cluster, slide, patient) are unknown, so the leakage "
    "is unknown too.",
    "explanations": "Explanations were not measured. Run explain.",
    "external": "No external validation was made. Run evaluate --on.",
    "resolution": "The data set states no micrometres per pixel.",
    "robustness": "The run was not audited. Run audit.",
    "selection": "No validation images were left to choose a checkpoint.",
    "thresholds": "No threshold was chosen on validation images. Evaluate with validation images.",
}
"""Reason why a run may not store a fact, and the command that adds it."""


def read_facts(
    folder: Path,
    split: str,
    config: ml_collections.ConfigDict,
    report: EvaluationReport,
    contents: Mapping[str, Any],
) -> dict[str, str]:
    """The facts that a run stores, by name; facts that it does not store are omitted.

    Args:
      folder: the run's folder.
      split: the split whose evaluation is shown.
      config: config of the run.
      report: the evaluation of that split.
      contents: `measured`, `changes`, `externals` and `limits` of the page, see
        `cervix_jax.report.contents`.

    Raises:
      InputError: a file cannot be read.
    """
    study = Study(
        folder=folder,
        stem=split,
        config=flatten(config.to_dict()),
        environment=read_json(folder / "env.json") or {},
        report=report,
        decisions=read_json(folder / "evaluate" / f"{split}_decisions.json"),
        contents=contents,
    )
    found = {name: state(study) for name, state in FACTS.items()}
    return {name: text for name, text in found.items() if text}
