"""The findings of an audit as text for the terminal."""

from collections.abc import Sequence

from cervix_jax.command.columns import aligned
from cervix_jax.data.splits import UNKNOWN_GROUPS

SHOWN_PAIRS = 10


def dataset_text(report: dict) -> str:
    """The audit of a data set as tables and sentences."""
    return "\n\n".join(
        [
            f"{report.get('data_title', report['dataset'])} {report['version']}: "
            f"{report['examples']} images, "
            + (
                f"{report['groups']} groups ({report['group_feature']})"
                if report["groups_known"]
                else f"groups {UNKNOWN_GROUPS}"
            ),
            _classes(report),
            _splits(report),
            _duplicates(report),
            _baselines(report),
            report["reading"],
        ]
    )


def run_text(report: dict) -> str:
    """The audit of a run as a table and sentences."""
    rows = [["images", "accuracy", "95 % interval", "drop", "kept", "p"]]
    for name, found in report["changes"].items():
        low, high = found["accuracy_interval"]
        rows.append(
            [
                name,
                f"{found['accuracy']:.4f}",
                f"{low:.3f} to {high:.3f}",
                f"{found['drop']:+.4f}",
                "-" if found["kept"] is None else f"{found['kept']:.0%}",
                f"{found['p_value']:.2g}",
            ]
        )
    masks = ", ".join(f"{count} by {by}" for by, count in report["masks"].items() if count)
    return "\n\n".join(
        [
            f"{report.get('data_title', report['dataset'])}, {report['split']} "
            f"(n = {report['n']}), protocol {report['protocol']}, "
            f"fold {report['fold']} of {report['folds']}, "
            f"step {report['step']}",
            aligned(rows),
            f"Share of the commonest class {report['majority']:.4f}; background found {masks}.",
            report["reading"],
        ]
    )


def _classes(report: dict) -> str:
    tested = [fold["class_counts"]["test"] for fold in report["splits"][report["protocol"]]]
    title = "tested per fold"
    rows = [["class", "images", "groups", title, "width 10/50/90 %", "height 10/50/90 %"]]
    for label, (name, found) in enumerate(report["classes"].items()):
        counts = [fold[label] for fold in tested]
        rows.append(
            [
                name,
                str(found["examples"]),
                str(found["groups"]),
                f"{min(counts)} to {max(counts)}",
                *(" / ".join(f"{x:.0f}" for x in found[side]) for side in ("width", "height")),
            ]
        )
    return f"Classes (test counts under `{report['protocol']}`)\n{aligned(rows)}"


def _splits(report: dict) -> str:
    rows = [
        [
            "protocol",
            "train",
            "val",
            "test",
            "group also in train or val",
            "duplicate in train or val",
        ]
    ]
    for protocol, folds in report["splits"].items():
        rows.append(
            [
                protocol,
                *(_mean([f["sizes"][split] for f in folds], ".0f") for split in folds[0]["sizes"]),
                _leakage(folds),
                _mean([fold["duplicated"] for fold in folds], ".1%"),
            ]
        )
    lines = [f"Splits (mean of {report['folds']} folds; shares refer to test images)"]
    lines.append(aligned(rows))
    lines += [f"{name}: not possible ({why})" for name, why in report["unavailable"].items()]
    return "\n".join(lines)


def _duplicates(report: dict) -> str:
    found, protocol = report["duplicates"], report["protocol"]
    lines = [
        f"Duplicates in {found['examples']} images: {found['exact']} exact pairs, {found['near']} "
        f"near pairs (at most {found['max_distance']} of 256 bits of the perceptual hash differ, "
        f"correlation at least {found['min_correlation']}); "
        f"{found['between_groups']} between groups, {found['between_classes']} between classes, "
        f"{found['crossing'][protocol]} across the splits of `{protocol}`"
    ]
    if found["groups_joined"] < report["groups"]:
        lines.append(
            f"Merging groups that share an image reduces {report['groups']} groups to "
            f"{found['groups_joined']} (--config.split.protocol=joined splits by merged groups; "
            "images.csv lists them)"
        )
    if not report["groups_known"]:
        lines.append(
            "images.csv groups only duplicates, as no groups were given: enter the patient or "
            "slide of every image as its group before you use the file"
        )
    ordered = sorted(found["pairs"], key=lambda row: protocol not in row["crosses"])
    for row in ordered[:SHOWN_PAIRS]:
        folds = row["crosses"].get(protocol)
        where = f"separated in folds {', '.join(map(str, folds))}" if folds else "never separated"
        kind = "exact" if row["exact"] else f"{row['distance']} bits, {row['pose']}"
        lines.append(f"  {row['first']}  {row['second']}  {kind}, {where}")
    if len(ordered) > SHOWN_PAIRS:
        lines.append(f"  and {len(ordered) - SHOWN_PAIRS} more in audit.json")
    return "\n".join(lines)


def _baselines(report: dict) -> str:
    protocols = list(report["splits"])
    rows = [["baseline", *protocols, "features"]]
    for name, found in report["baselines"].items():
        cells = []
        for protocol in protocols:
            mean, deviation = found[protocol]["mean"], found[protocol]["deviation"]
            cells.append(f"{mean:.3f}" + ("" if deviation is None else f" ± {deviation:.3f}"))
        rows.append([name, *cells, report["descriptions"][name]])
    title = (
        f"Balanced accuracy of random forests of {report['trees']} trees, mean ± deviation over "
        f"folds (chance {report['chance']:.3f})"
    )
    return f"{title}\n{aligned(rows)}"


def _leakage(folds: Sequence[dict]) -> str:
    shares = [fold["leakage"] for fold in folds]
    return "unknown" if None in shares else _mean(shares, ".1%")


def _mean(values: Sequence[float], form: str) -> str:
    return format(sum(values) / len(values), form)
