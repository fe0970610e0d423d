"""What a compiled program needs: memory, cycles, messages, and an estimate of its time."""

import re
import time
from collections.abc import Mapping
from typing import Any

import jax

from cervix_jax.compile.chips import Slice, slices
from cervix_jax.compile.devices import not_cached
from cervix_jax.compile.hlo import COLLECTIVES, Module
from cervix_jax.compile.programs import Program

SCALING = (8, 256)  # chips, from and to, of the estimate of weak scaling
ASSUMPTIONS = (
    "cycles are the compiler's own estimates; hardware may differ",
    "the clock rate is an estimate: peak operations per second, divided by the operations per "
    "cycle of the matrix units",
    "an operation without a cycle estimate (listed) takes the time to write and read its result "
    "once at the memory bandwidth: a lower bound, far too low for gathers",
    "collectives are sequential and do not overlap with computation; their time is the bytes "
    "divided by the bandwidth of the links of all axes, plus 1 microsecond for each hop there and "
    "back",
    "copies in the background cost nothing",
    "input arrives in time; the host adds no time",
    "weak scaling: the same program with the same images per chip and the same collectives on a "
    "larger slice",
)


def program_facts(program: Program, place: Slice, *, phase: str) -> tuple[dict[str, Any], str]:
    """Compile a program and collect its facts for JSON; see `facts` and `memory_facts`.

    Args:
      program: lowered.
      place: the slice it is lowered for.
      phase: phase of operations whose name gives none.

    Returns:
      `images`, `images_a_chip`, `chips`, `compile_seconds`, `memory`, and, where it fits,
      everything of `facts`; and the compiled text, "" where it does not fit.
    """
    start = time.perf_counter()
    memory, compiled = compile_for_memory(program, place)
    found = {
        "images": program.images,
        "images_a_chip": program.images_a_chip,
        "chips": program.chips,
        "compile_seconds": round(time.perf_counter() - start, 1),
        "memory": memory,
    }
    if compiled is None:
        return found, ""
    text = compiled.as_text() or ""
    cost = compiled.cost_analysis() or {}
    where = place if program.chips == place.chips else Slice(place.chip, (1,) * len(place.shape))
    found |= facts(
        text, where, images_a_chip=program.images_a_chip,
        flops=cost.get("flops", 0.0), accessed=cost.get("bytes accessed", 0.0), phase=phase,
    )  # fmt: skip
    return found, text


def compile_for_memory(
    program: Program, place: Slice
) -> tuple[dict[str, Any], jax.stages.Compiled | None]:
    """Compile; return the memory per chip, and the program or None if it does not fit."""
    try:
        with not_cached():
            compiled = program.lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        text = " ".join(str(error).split())
        if "RESOURCE_EXHAUSTED" not in text:
            raise
        sizes = [
            int(float(number) * 2 ** (10 * "KMGT".index(unit) + 10))
            for number, unit in re.findall(r"(\d+(?:\.\d+)?)([KMGT])i?B?\b", text)
        ]
        needed = next((size for size in sizes if size > place.chip.hbm), None)
        return {
            "total": needed,
            "fits": False,
            "available": place.chip.hbm,
            "why": text[:300],
        }, None
    found: Any = compiled.memory_analysis()
    return memory_facts(
        found.argument_size_in_bytes, found.output_size_in_bytes, found.temp_size_in_bytes,
        found.alias_size_in_bytes, found.generated_code_size_in_bytes, place,
    ), compiled  # fmt: skip


def memory_facts(
    arguments: int, output: int, temporaries: int, aliased: int, code: int, place: Slice
) -> dict[str, Any]:
    """The memory of one chip in bytes, what it comes to together, and whether that fits."""
    total = arguments + output - aliased + temporaries + code
    return {
        "arguments": arguments,
        "output": output,
        "aliased": aliased,
        "temporaries": temporaries,
        "code": code,
        "total": total,
        "available": place.chip.hbm,
        "fits": total <= place.chip.hbm,
    }


def facts(
    text: str,
    place: Slice,
    *,
    images_a_chip: int,
    flops: float,
    accessed: float,
    phase: str = "rest",
) -> dict[str, Any]:
    """Facts of a compiled program's text, and estimated times.

    Args:
      text: HLO text of a program that was compiled for `place`.
      place: the slice, one chip for a program of one chip.
      images_a_chip: images of one call on one chip.
      flops: floating-point operations of one chip, counted by the compiler.
      accessed: bytes that one chip reads and writes, counted by the compiler.
      phase: phase of operations whose name gives none.

    Returns:
      `flops` and `bytes` of a chip; `cycles` by phase; `without_estimate`, `in_background`,
      `gathers` (elements of each), `messages` (by kind the count and bytes); `seconds` of a call by
      `compute`, `without_estimate`, `messages` and together, `images_per_second` of all chips,
      `share_of_peak`, and `weak_scaling` (for programs of several chips).
    """
    module = Module(text, phase)
    cycles, others, messages = module.cycles(), module.without_estimate(), {}
    for message in module.messages():
        each = messages.setdefault(message.kind, {"count": 0, "bytes": 0})
        each["count"] += message.times
        each["bytes"] += message.times * message.bytes
    messages = {kind: messages[kind] for kind in COLLECTIVES if kind in messages}
    chip = place.chip
    seconds = {
        "compute": sum(cycles.values()) / chip.clock,
        "without_estimate": sum(2 * each["bytes"] for each in others.values()) / chip.hbm_bandwidth,
        "messages": message_seconds(messages, place),
    }
    seconds["total"] = sum(seconds.values())
    found = {
        "flops": flops,
        "bytes": accessed,
        "cycles": cycles,
        "without_estimate": others,
        "in_background": module.in_background(),
        "gathers": module.gathers(),
        "messages": messages,
        "seconds": seconds,
        "images_per_second": images_a_chip * place.chips / max(seconds["total"], 1e-12),
        "share_of_peak": flops / max(seconds["total"], 1e-12) / chip.flops,
    }
    if place.chips > 1:
        found["weak_scaling"] = weak_scaling(messages, seconds, place)
    return found


def message_seconds(messages: Mapping[str, Mapping[str, int]], place: Slice) -> float:
    """Seconds of all collectives of a call on a slice, one after the other.

    An all-gather or reduce-scatter moves half the bytes of an all-reduce, which does both.
    """
    total = 0.0
    for kind, each in messages.items():
        whole = place.all_reduce_seconds(each["count"], each["bytes"])
        total += whole if kind == "all-reduce" else whole / 2
    return total


def weak_scaling(
    messages: Mapping[str, Mapping[str, int]], seconds: Mapping[str, float], place: Slice
) -> dict[str, dict[str, float]]:
    """Seconds of a call and efficiency against the smallest slice, for slices of 8 to 256 chips."""
    alone = seconds["compute"] + seconds["without_estimate"]
    times = {
        each: alone + message_seconds(messages, each)
        for each in slices(place.chip)
        if SCALING[0] <= each.chips <= SCALING[1]
    }
    first = next(iter(times.values()))
    return {
        each.name: {"chips": each.chips, "seconds": time, "efficiency": first / time}
        for each, time in times.items()
    }


def largest_batch(
    memory: Mapping[str, Any], images_a_chip: int, batch_bytes_a_chip: float
) -> int | None:
    """Largest number of images per chip, ESTIMATED from one compilation; None if that did not fit.

    Memory is nearly affine in the batch size. The estimate lets everything grow with the batch
    except the state, so it is too low for batches above the compiled one.
    """
    if "arguments" not in memory:
        return None
    fixed = memory["arguments"] - batch_bytes_a_chip
    growing = memory["total"] - fixed
    return int((memory["available"] - fixed) / max(growing, 1) * images_a_chip)


def from_two(points: Mapping[int, Mapping[str, Any]], available: int) -> int:
    """Largest number of images per chip, from the straight line through two compilations.

    Args:
      points: memory by the number of images per chip.
      available: bytes.
    """
    (few, less), (many, more) = sorted(points.items())
    slope = max((more["total"] - less["total"]) / (many - few), 1)
    return int(few + (available - less["total"]) / slope)
