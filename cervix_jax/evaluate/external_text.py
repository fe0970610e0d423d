"""What people read of an external validation: which images, what the run knew of them."""

from collections.abc import Mapping
from typing import Any

from cervix_jax.evaluate.report_file import EvaluationReport, Metric

SEEN_TOO = "results on images that the run was made with say nothing of new ones"


def origin(report: EvaluationReport, external: Mapping[str, Any]) -> list[str]:
    """Where the images are from and which of them the run knows, a sentence each.

    Args:
      report: of the evaluation.
      external: the entry `external` of `external.json`.
    """
    views = "; mean over 8 symmetries" if report.tta else ""
    lines = [
        f"external validation on {report.dataset} ({external['kind']}: {external['source']}), "
        f"trained on {external['trained_on']}{views}",
        f"leakage {leakage(report, external)}",
        *without_seen(external),
    ]
    if absent := external["absent_classes"]:
        lines.append(f"no image is of {', '.join(absent)}; means over classes leave them out")
    renamed = [
        f"{name} is {own}"
        for own, names in external["class_map"].items()
        for name in ([names] if isinstance(names, str) else names)
    ]
    if renamed:
        lines.append(f"classes called otherwise: {', '.join(renamed)}")
    return lines + [str(note) for note in external["notes"]]


def leakage(report: EvaluationReport, external: Mapping[str, Any]) -> str:
    """The share of the images that the run was made with, by kind; or why it is unknown."""
    seen = external["seen"]
    if not seen["known"]:
        return seen["why"]
    made_with = seen["made_with"]
    text = f"{report.leakage or 0:.1%}: the run was made with {seen['images']} of {report.n} images"
    kinds = [f"{made_with['exact']} to the last pixel"]
    if seen["near"] is None:
        kinds.append("near duplicates were not looked for, as the run's fingerprints.npz is gone")
    else:
        kinds.append(f"{made_with['near']} as near duplicates")
    if seen["same_group"]:
        kinds.append(f"{made_with['same_group']} only by their group")
    text += f" ({', '.join(kinds)})"
    if not external["groups_known"]:
        text += "; by group unknown: no groups were given"
    elif not seen["run_groups_known"]:
        text += (
            "; by group unknown but for groups that hold a copy: the run was trained without groups"
        )
    if alike := seen["groups_called_alike"]:
        text += (
            f"; {alike} more are of groups called like groups of the run's data: if these are the "
            "same patients or slides, they leak too"
        )
    tested = {kind: (seen[kind] or {}).get("test", 0) for kind in ("exact", "near")}
    if any(tested.values()):
        text += f"; {sum(tested.values())} are test images of the run"
        text += f" ({tested['near']} as near duplicates)" if tested["near"] else ""
    if seen["repeated"]:
        text += f"; {seen['repeated']} are copies of others of these images"
    return text


def without_seen(external: Mapping[str, Any]) -> list[str]:
    """The accuracy on the images that the run was not made with, where it was with some."""
    rest = external["unseen"]
    if rest is None:
        seen = external["seen"]
        return [SEEN_TOO] if seen["known"] and seen["images"] else []
    accuracy = Metric.of(rest["metrics"]["accuracy"])
    return [f"accuracy on the {rest['n']} images that it was not made with: {accuracy}; {SEEN_TOO}"]
