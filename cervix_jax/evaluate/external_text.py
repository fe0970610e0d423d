"""Text of an external validation: the images' origin, and their overlap with the run's own."""

from collections.abc import Mapping
from typing import Any

from cervix_jax.evaluate.report_file import EvaluationReport, Metric

SEEN_TOO = (
    "results on training or validation images of the run do not show its performance on new images"
)


def origin(report: EvaluationReport, external: Mapping[str, Any]) -> list[str]:
    """Origin of the images and overlap with the run's own, one line per fact.

    Args:
      report: the evaluation.
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
        lines.append(f"no image has the class {', '.join(absent)}; means over classes omit it")
    renamed = [
        f"{name} is {own}"
        for own, names in external["class_map"].items()
        for name in ([names] if isinstance(names, str) else names)
    ]
    if renamed:
        lines.append(f"renamed classes (data is run): {', '.join(renamed)}")
    return lines + [str(note) for note in external["notes"]]


def leakage(report: EvaluationReport, external: Mapping[str, Any]) -> str:
    """Share of images that the run was trained or validated on, by kind; or why it is unknown."""
    seen = external["seen"]
    if not seen["known"]:
        return seen["why"]
    made_with = seen["made_with"]
    text = (
        f"{report.leakage or 0:.1%}: the run was trained or validated on {seen['images']} of "
        f"{report.n} images"
    )
    kinds = [f"{made_with['exact']} identical in every pixel"]
    if seen["near"] is None:
        kinds.append("near duplicates not checked: the run has no fingerprints.npz")
    else:
        kinds.append(f"{made_with['near']} as near duplicates")
    if seen["same_group"]:
        kinds.append(f"{made_with['same_group']} not copies, but in a group of the run's images")
    text += f" ({', '.join(kinds)})"
    if not external["groups_known"]:
        text += "; leakage by group unknown: no groups were given"
    elif not seen["run_groups_known"]:
        text += (
            "; the groups of the run's images are unknown, so leakage by group is known only for "
            "groups in which an image is a copy of one of them"
        )
    if alike := seen["groups_called_alike"]:
        text += (
            f"; {alike} more images belong to groups with the same name as groups of the run's "
            "data: if these are the same patients or slides, they leak too"
        )
    tested = {kind: (seen[kind] or {}).get("test", 0) for kind in ("exact", "near")}
    if any(tested.values()):
        text += f"; {sum(tested.values())} are test images of the run"
        text += f" ({tested['near']} as near duplicates)" if tested["near"] else ""
    if seen["repeated"]:
        text += f"; {seen['repeated']} are copies of others of these images"
    return text


def without_seen(external: Mapping[str, Any]) -> list[str]:
    """Accuracy on the images that the run was not trained or validated on, if others exist."""
    rest = external["unseen"]
    if rest is None:
        seen = external["seen"]
        return [SEEN_TOO] if seen["known"] and seen["images"] else []
    accuracy = Metric.of(rest["metrics"]["accuracy"])
    return [f"accuracy on the {rest['n']} other images: {accuracy}; {SEEN_TOO}"]
