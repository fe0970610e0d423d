"""Reports as a few lines for the terminal."""

from cervix_jax.data.splits import ONE_SPLIT
from cervix_jax.statistics.aggregation import RULES


def headline(report: dict) -> str:
    """Accuracy with its interval and count, in a few words."""
    low, high = report["accuracy_interval"]
    return f"accuracy {report['accuracy']:.4f} (95 % {low:.3f} to {high:.3f}, n = {report['n']})"


def summary(report: dict) -> str:
    """The report as a few lines of text."""
    width = max(len(name) for name in report["class_names"])
    lines = [
        f"{report['split']} {headline(report)}, balanced accuracy "
        f"{report['balanced_accuracy']:.4f}",
        f"95 % by resampling the {report['groups']} groups: accuracy "
        f"{_interval(report['accuracy_interval_by_group'])}",
        f"macro AUROC {shown(report['overall']['macro_auroc'])}, "
        f"NLL {shown(report['probabilities']['nll'])}, "
        f"calibration error {shown(report['probabilities']['ece_equal_width'])}",
        _origin(report),
        f"{'':{width}}  precision  recall      f1  support",
    ]
    for name, row in report["per_class"].items():
        lines.append(
            f"{name:{width}}  {row['precision']:9.3f}  {row['recall']:6.3f}  {row['f1']:6.3f}  "
            f"{row['support']:7d}"
        )
    return "\n".join(lines)


def decisions_summary(decisions: dict) -> str:
    """What was settled on validation predictions, as a few lines of text."""
    scaling = decisions["temperature"]
    before, after = scaling["before"], scaling["after"]
    lines = [
        f"temperature {scaling['temperature']:.3f}, fitted on {scaling['n']} validation images: "
        f"NLL {before['nll']['estimate']:.4f} -> {after['nll']['estimate']:.4f}, calibration error "
        f"{before['ece_equal_width']['estimate']:.4f} -> "
        f"{after['ece_equal_width']['estimate']:.4f}"
    ]
    for method, rows in decisions["conformal"].items():
        lines += [
            f"conformal sets ({method.upper()}) for {row['target']:.0%}: cover "
            f"{shown(row['coverage'])}, {row['mean_size']['estimate']:.2f} classes on average"
            for row in rows
        ]
    return "\n".join(lines)


def aggregation_summary(report: dict) -> str:
    """Accuracy over groups by rule, as lines of text."""
    found = report["aggregation"]
    if found is None:
        return "every image is a group of its own: there is nothing to aggregate"
    left_out = f"; {found['mixed']} with several labels left out" if found["mixed"] else ""
    lines = [f"accuracy over {found['groups']} groups{left_out}"]
    lines += [
        f"{rule:20}  {shown(found[rule])}  {found[rule]['of'][0]} of {found[rule]['of'][1]}"
        for rule in RULES
    ]
    return "\n".join(lines)


def shown(estimate: dict) -> str:
    """An estimate with its interval, or why there is none."""
    if estimate["estimate"] is None:
        return f"undefined ({estimate['why']})"
    return f"{estimate['estimate']:.4f} ({_interval(estimate['interval'])})"


def _interval(interval: list[float] | None) -> str:
    return "no interval" if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}"


def _origin(report: dict) -> str:
    if report.get("protocol") is None:
        return "protocol and leakage are not known of a file of predictions"
    protocol = report["protocol"]
    if protocol not in ONE_SPLIT:
        fold, folds = report["fold"], report["folds"]
        protocol += f", {f'{len(fold)} folds' if isinstance(fold, list) else f'fold {fold}'}"
        protocol += f" of {folds}"
    share = f"{report['leakage']:.1%} of the examples come from groups in train or val"
    refit = "; trained on train and val" if report.get("refit") else ""
    views = "; mean over 8 symmetries" if report.get("tta") else ""
    members = f"; mean of {report['members']} models" if report.get("members", 1) > 1 else ""
    return f"protocol {protocol}{refit}{views}{members}; {share}"
