"""The tables of RESULTS.md, each from the outcomes of `measure`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cervix_jax.reproduce.rows import ROWS
from cervix_jax.statistics.aggregation import RULES
from cervix_jax.statistics.intervals import wilson_interval

Outcome = Mapping[str, Any]
VARIANTS = {
    "tta": "mean of 8 symmetries",
    "adapted": "batch statistics of the test images",
    "group_adapted": "batch statistics of the test group",
}


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table in Markdown."""
    lines = [f"| {' | '.join(line)} |" for line in (columns, *rows)]
    return [lines[0], f"|{'---|' * len(columns)}", *lines[1:]]


def paper(outcomes: Sequence[Outcome]) -> str:
    """The rows under the paper's split, beside the paper's results."""
    found = {o["row"]: o for o in outcomes if o["protocol"] == "paper"}
    extra = _columns(list(found.values()))
    columns = ["row", "network", "data", "paper (95 %, Wilson)", "ours (95 %, by group)", *extra]
    columns += ["our start", "pixels", "epochs", "n"]
    rows = []
    for row in ROWS:
        ours = found.get(row.id)
        if ours is None and not row.is_paper:
            continue
        published = "not in the paper"
        if row.correct is not None and row.tested:
            published = _percent(row.correct / row.tested, wilson_interval(row.correct, row.tested))
        cells = ["not run", *[""] * (len(extra) + 3), str(row.tested or "")]
        if ours is not None:
            cells = [_ours(ours), *(value(ours) for value in extra.values())]
            cells += [ours["init"] + (", refit" if ours["refit"] else ""), str(ours["image_size"])]
            cells += [str(ours["epochs"]), str(ours["n"])]
        rows.append([row.id, row.title, row.dataset, published, *cells])
    return "\n".join(["## On the paper's splits", "", *table(columns, rows)])


def _columns(outcomes: Sequence[Outcome]) -> dict[str, Callable[[Outcome], str]]:
    """Optional columns: title to a function that gives the cell of an outcome."""
    found: dict[str, Callable[[Outcome], str]] = {}
    if any(o["seeds"] > 1 for o in outcomes):
        found["seeds, sd"] = _seeds
        found["ensemble of the seeds"] = lambda o: _metric(o.get("ensemble"))
    names: set[str] = {name for o in outcomes for name in o.get("variants", {})}
    for name in sorted(names):
        title = VARIANTS.get(name, name)
        found[title] = lambda o, name=name: _metric(_variant(o, name))
        if any(_variant(o, name).get("ensemble") for o in outcomes):
            found[f"{title}, ensemble"] = lambda o, name=name: _metric(
                _variant(o, name).get("ensemble")
            )
    return found


def _variant(outcome: Outcome, name: str) -> Mapping[str, Any]:
    return outcome.get("variants", {}).get(name, {})


def _seeds(outcome: Outcome) -> str:
    sd = outcome["sd"]
    return str(outcome["seeds"]) + ("" if sd is None else f", ± {100 * sd:.2f}")


def _metric(measured: Mapping[str, Any] | None, name: str = "accuracy") -> str:
    """A metric from a result of `measured`, with its interval by group; "" if it is unknown."""
    entry = measured["metrics"].get(name) if measured and "metrics" in measured else None
    return "" if entry is None else _entry(entry)


def _entry(entry: Mapping[str, Any]) -> str:
    if entry["estimate"] is None:
        return "undefined"
    if entry["interval_by_group"] is None:
        return f"{100 * entry['estimate']:.2f} %"
    return _percent(entry["estimate"], entry["interval_by_group"])


def f1(outcomes: Sequence[Outcome]) -> str:
    """F1 by class, the paper's and ours."""
    lines = []
    for row in ROWS:
        ours = next((o for o in outcomes if (o["row"], o["protocol"]) == (row.id, "paper")), None)
        if ours is None or not row.f1:
            continue
        pairs = [f"{name} {paper:.3f} / {ours['f1'][name]:.3f}" for name, paper in row.f1.items()]
        lines.append(f"- {row.id}: {'; '.join(pairs)}")
    return "\n".join(["### F1 by class, paper / ours", "", *lines]) if lines else ""


def protocols(outcomes: Sequence[Outcome]) -> str:
    """All outcomes with folds and leakage, if a row was run under other splits than the paper's."""
    if not any(o["protocol"] != "paper" for o in outcomes):
        return ""
    extra = _columns(outcomes)
    if any("metrics" in o for o in outcomes):
        extra = {"balanced accuracy": lambda o: _metric(o, "balanced_accuracy")} | extra
    columns = ["row", "protocol", "accuracy (95 %, by group)", *extra]
    columns += ["by fold", "leakage", "pixels", "epochs", "n", "groups"]
    rows = []
    for o in outcomes:
        folds = ", ".join(f"{100 * value:.1f}" for value in o["folds_accuracy"])
        leaked = "unknown" if o["leakage"] is None else f"{o['leakage']:.1%}"
        cells = [o["row"], f"`{o['protocol']}`", _ours(o), *(value(o) for value in extra.values())]
        cells += [folds if o["folds"] > 1 else "", leaked, str(o["image_size"]), str(o["epochs"])]
        rows.append([*cells, str(o["n"]), str(o["groups"])])
    return "\n".join(["## The same networks under all splits", "", *table(columns, rows)])


def joined_classes(outcomes: Sequence[Outcome]) -> str:
    """Ordered classes and the classes they are joined to: accuracies and sensitivities."""
    rows = []
    for o in outcomes:
        if "quadratic_kappa" not in o.get("metrics", {}):
            continue
        for measured in (o, *o["by_level"].values()):
            kappa = measured["metrics"].get("quadratic_kappa", {"estimate": None})["estimate"]
            sensitivity = "; ".join(
                f"{name} {_short(entry)}" for name, entry in measured["sensitivity"].items()
            )
            cells = [o["row"], f"`{o['protocol']}`", str(len(measured["sensitivity"]))]
            cells += [_metric(measured), _metric(measured, "balanced_accuracy")]
            rows.append([*cells, "" if kappa is None else f"{kappa:.3f}", sensitivity])
    if not rows:
        return ""
    columns = ["row", "protocol", "classes", "accuracy", "balanced accuracy", "quadratic kappa"]
    lines = [
        "## Ordered classes and joined classes",
        "",
        "Values are means over seeds, with intervals by group. The probability of a joined class "
        "is the sum over its classes.",
        "",
    ]
    return "\n".join([*lines, *table([*columns, "sensitivity, %"], rows)])


def _short(entry: Mapping[str, Any]) -> str:
    """A percentage without decimals and its interval."""
    if entry["estimate"] is None:
        return "undefined"
    text = f"{100 * entry['estimate']:.0f}"
    if entry["interval_by_group"] is None:
        return text
    low, high = entry["interval_by_group"]
    return f"{text} ({100 * low:.0f} to {100 * high:.0f})"


def clusters(outcomes: Sequence[Outcome]) -> str:
    """Clusters classified from the predictions of their cells, if a cluster has one class."""
    rows = []
    for o in outcomes:
        if o["leakage"] != 0 or not o["clusters"]:
            continue
        total = next(iter(o["clusters"].values()))[1]
        if total == o["groups"]:
            right = [str(o["clusters"][rule][0]) for rule in RULES]
            rows.append([o["row"], f"`{o['protocol']}`", *right, str(total)])
    if not rows:
        return ""
    lines = [
        "## From cells to clusters",
        "",
        "Number of clusters that a rule classifies correctly from the predictions of their cells "
        "(first seed). Under `paper_clusters` the clusters are the 101 test images of the paper's "
        "multi-cell rows; the paper's best network is right on 92 of them.",
        "",
    ]
    columns = ["row", "protocol", *(rule.replace("_", " ") for rule in RULES), "clusters"]
    return "\n".join([*lines, *table(columns, rows)])


def shortcuts(found: Mapping[str, Any] | None) -> str:
    """Results of the shortcut baselines: random forests on features without cell shape."""
    if found is None:
        return ""
    baselines = found["baselines"]
    names = list(next(iter(baselines.values())))
    lines = [
        "## Shortcut baselines without cell shape",
        "",
        f"Balanced accuracy of random forests on simple features of {found['dataset']}, mean "
        f"over folds (chance {found['chance']:.2f}), from `python -m cervix_jax.audit`.",
        "",
    ]
    rows = [
        [name, *(f"{by_protocol[p]['mean']:.3f}" for p in names)]
        for name, by_protocol in baselines.items()
    ]
    return "\n".join([*lines, *table(["features", *(f"`{name}`" for name in names)], rows)])


def left_out(skipped: Mapping[str, str]) -> str:
    """Experiments that were not run, with reasons."""
    if not skipped:
        return ""
    names: dict[str, list[str]] = {}
    for name, reason in skipped.items():
        names.setdefault(reason, []).append(name)
    lines = [f"- {'; '.join(same)}: {reason}" for reason, same in names.items()]
    return "\n".join(["## Left out", "", *lines])


def interval(outcome: Outcome) -> Sequence[float]:
    """The interval of the accuracy: by group, or Wilson if no groups are known."""
    return outcome["interval_by_group"] if _has_groups(outcome) else outcome["interval"]


def _percent(value: float, ends: Sequence[float]) -> str:
    return f"{100 * value:.2f} % ({100 * ends[0]:.1f} to {100 * ends[1]:.1f})"


def _has_groups(outcome: Outcome) -> bool:
    """Whether the interval by group resamples groups, not single images."""
    return outcome["interval_by_group"] is not None and outcome["groups"] < outcome["n"]


def _ours(outcome: Outcome) -> str:
    """Our accuracy with its interval, marked as Wilson unless it is by group."""
    text = _percent(outcome["accuracy"], interval(outcome))
    return text if _has_groups(outcome) else f"{text[:-1]}, Wilson)"
