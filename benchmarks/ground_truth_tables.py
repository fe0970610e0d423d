"""The numbers of ground_truth.py as tables in Markdown."""

from collections.abc import Iterable, Mapping

import ground_truth_runs as runs


def tables(found: Mapping) -> str:
    """All tables."""
    makers = (filled, located, sanity, mixed, background, audit, frame)
    names = ("parts", "parts", "sanity", "colour", "colour", "audit", "frame")
    return "\n\n".join(make(found[name]) for make, name in zip(makers, names, strict=True))


def filled(parts: Mapping) -> str:
    """What filling a part does."""
    classes = list(parts["filled"]["nucleus"])
    rows = (
        [region, *(estimate(by_class.get(label)) for label in classes)]
        for region, by_class in parts["filled"].items()
    )
    return table(["part filled: fall of the probability", *classes], rows)


def located(parts: Mapping) -> str:
    """Mass over area in the parts that decide."""
    labels = ("Koilocytotic", "Dyskeratotic", "Parabasal", "Superficial-Intermediate")
    wanted = {
        "halo: mass": ("Koilocytotic", "halo", "mass"),
        "halo: rank": ("Koilocytotic", "halo", "rank"),
        **{f"nucleus, {label}: mass": (label, "nucleus", "mass") for label in labels},
    }
    rows = (
        [method, *(times(by_class[label][region][measure])
                   for label, region, measure in wanted.values()),
         estimate(parts["agreement"][method])]
        for method, by_class in parts["located"].items()
    )  # fmt: skip
    heads = ["method: share over area share", *wanted, "agrees with filling"]
    return table(heads, rows)


def sanity(found: Mapping) -> str:
    """How alike maps of trained and fresh weights are."""
    rows = (
        [method, *(estimate(values[name]) for name in ("rank", "rank_absolute", "ssim", "edges"))]
        for method, values in found.items()
    )
    return table(
        ["method: fresh weights", "rank correlation", "of absolute values", "SSIM",
         "with the edges (trained)"], rows,
    )  # fmt: skip


def mixed(colour: Mapping) -> str:
    """Accuracy on cells before exchanged backgrounds."""
    networks = list(colour["accuracy"])
    kinds = list(colour["accuracy"][networks[0]])
    rows = ([kind, *(estimate(colour["accuracy"][n][kind]) for n in networks)] for kind in kinds)
    return table(["images: accuracy", *(f"network {name}" for name in networks)], rows)


def background(colour: Mapping) -> str:
    """Mass on the background in two networks."""
    return _compared(colour["background"], (runs.FREE, runs.CONFOUNDED), "background")


def audit(found: Mapping) -> str:
    """What the audit says."""
    networks = (runs.FREE, runs.FRAMED)
    rows = [
        [f"forest of border pixels, {task}: balanced accuracy",
         *(f"{found['forests'][n][task]['mean']:.3f}" for n in networks)]
        for task in found["forests"][runs.FREE]
    ]  # fmt: skip
    rows += [
        [f"test images {change}: accuracy",
         *(f"{found['runs'][n]['changes'][change]['accuracy']:.3f}" for n in networks)]
        for change in found["runs"][runs.FREE]["changes"]
    ]  # fmt: skip
    labels = {runs.FREE: runs.MARKED, runs.FRAMED: f"im_{runs.MARKED}"}
    rows += [
        [f"border alone: {text} called {runs.MARKED}", *(
            f"{found['runs'][n]['changes']['border_only']['by_class'][labels[n]][key]:.2f}"
            for n in networks
        )]
        for key, text in (("recall", "its images"), ("called", "others"))
    ]  # fmt: skip
    rows += [
        [f"{kind}: called {runs.MARKED}", *(estimate(values[n]) for n in networks)]
        for kind, values in found["called"].items()
    ]
    return table(["audit", "without frame", "with frame"], rows)


def frame(found: Mapping) -> str:
    """Mass in the frame in two networks."""
    return _compared(found["located"], (runs.FREE, runs.FRAMED), "frame")


def _compared(found: Mapping, networks: Iterable[str], region: str) -> str:
    first, second = networks
    rows = (
        [method, times(of["mass"][first]), times(of["mass"][second]),
         *(estimate(of[kind]["difference"]) for kind in ("mass", "rank"))]
        for method, of in found.items()
    )  # fmt: skip
    heads = [
        f"method: mass on the {region} over its area", first, second, "difference of the mass",
        "of the rank",
    ]  # fmt: skip
    return table(heads, rows)


def table(heads: list[str], rows: Iterable[list[str]]) -> str:
    """Rows of Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def times(summary: Mapping) -> str:
    """A mean over that of chance, with its interval."""
    return estimate(summary["times_chance"])


def estimate(summary: Mapping | None) -> str:
    """A mean with its interval; empty where there is none."""
    if summary is None or summary["estimate"] is None:
        return ""
    interval = summary["interval"]
    spread = f" ({interval[0]:.2f} to {interval[1]:.2f})" if interval else ""
    return f"{summary['estimate']:.2f}{spread}"
