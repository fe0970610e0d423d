"""The facts of compiled programs as a table for the terminal."""

from collections.abc import Mapping
from typing import Any

from cervix_jax.command.columns import aligned
from cervix_jax.compile.hlo import PHASES


def table(report: Mapping[str, Any]) -> str:
    """All programs of a report, see `workflow.compile_config`, and the assumptions below them."""
    chip = report["chip"]
    lines = [
        f"{report['network']} at {report['image_size']} px, {report['num_classes']} classes, on "
        f"{report['topology']}: {report['chips']} chips of {_tera(chip['flops'])} bfloat16, "
        f"{_bytes(chip['hbm'])} of memory. Nothing was run: times are estimates.",
    ]
    for name, found in report["programs"].items():
        lines += ["", f"{name}: {_head(name, found)}"]
        if "same_as" in found:
            lines.append(f"  the same program as {found['same_as']}, compiled only once")
            continue
        lines += ["  " + line for line in aligned(_rows(name, found)).splitlines()]
    return "\n".join([*lines, "", "Assumptions:", *(f"- {each}" for each in report["assumptions"])])


def _head(name: str, found: Mapping[str, Any]) -> str:
    count = f"{found['images']} {_unit(name)}"
    if found["chips"] == 1:
        return f"{count} on one chip"
    return f"{count} on {found['chips']} chips, {found['images_a_chip']} each"


def _unit(name: str) -> str:
    return "interpolation points" if name == "integrated_gradients" else "images"


def _rows(name: str, found: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = [
        ("compiled in", f"{found['compile_seconds']:.0f} s"),
        ("memory per chip", _memory(found)),
    ]
    if largest := found.get("largest_batch"):
        rows.append(("largest batch", f"{largest['images']} images ({largest['how']})"))
    if "cycles" not in found:
        return rows
    total = max(sum(found["cycles"].values()), 1)
    shares = [
        f"{phase} {cycles / total:.1%}" for phase in PHASES if (cycles := found["cycles"][phase])
    ]
    seconds = found["seconds"]
    rows += [
        (
            "arithmetic per chip",
            f"{found['flops'] / 1e9:.1f} GFLOP, {_bytes(found['bytes'])} moved",
        ),
        ("estimated cycles", f"{total / 1e6:.2f} million: {', '.join(shares)}"),
        ("without an estimate", _counted(found["without_estimate"]) or "nothing"),
        ("collectives", _counted(found["messages"]) or "none"),
        (
            "estimated time",
            f"{_ms(seconds['total'])} = {_ms(seconds['compute'])} of computation + "
            f"{_ms(seconds['messages'])} of collectives + {_ms(seconds['without_estimate'])} of "
            "operations without an estimate",
        ),
        (
            "throughput",
            f"{found['images_per_second']:,.0f} {_unit(name)} per second, "
            f"{found['share_of_peak']:.1%} of the peak",
        ),
    ]
    if scaling := found.get("weak_scaling"):
        shown = [f"{each['chips']} chips {each['efficiency']:.1%}" for each in scaling.values()]
        rows.append(("weak scaling", ", ".join(shown)))
    return rows


def _memory(found: Mapping[str, Any]) -> str:
    memory = found["memory"]
    if "arguments" not in memory:
        needed = f"{_bytes(memory['total'])}, " if memory["total"] else ""
        return f"{needed}DOES NOT FIT in {_bytes(memory['available'])}"
    parts = [f"{name} {_bytes(memory[name])}" for name in ("arguments", "temporaries", "output")]
    fits = "fits" if memory["fits"] else "DOES NOT FIT in"
    return (
        f"{_bytes(memory['total'])} ({', '.join(parts)} of which {_bytes(memory['aliased'])} alias "
        f"donated arguments), {fits} {_bytes(memory['available'])}"
    )


def _counted(found: Mapping[str, Mapping[str, int]]) -> str:
    return ", ".join(
        f"{each['count']} {kind} ({_bytes(each['bytes'])})" for kind, each in found.items()
    )


def _bytes(size: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.4g} {unit}"
        size /= 1024
    return f"{size:.2f} GiB"


def _tera(flops: float) -> str:
    return f"{flops / 1e12:.0f} TFLOP/s"


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.2f} ms"
