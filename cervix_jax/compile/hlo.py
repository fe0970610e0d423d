"""Cycles by part of the step, and collectives, from the text of a program compiled for a TPU.

The compiler writes an estimate of cycles beside most operations that a chip executes in sequence.
Gathers, scatters, collectives and background copies have no estimate; this module counts them.
`Module.events` follows the execution: the operations inside a fusion are not counted again, and
the operations inside a loop count once per iteration.
"""

import collections
import dataclasses
import math
import re
from collections.abc import Callable, Iterator

PHASES = ("augmentation", "forward", "backward", "optimiser", "rest")
COLLECTIVES = (
    "all-reduce", "reduce-scatter", "all-gather", "collective-permute", "all-to-all",
)  # fmt: skip
# What costs nothing, or goes on in the background: memory is only named, or moved ahead of its use.
_FREE = {
    "parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "partition-id",
    "replica-id", "opt-barrier", "add-dependency", "while", "call", "conditional", "iota",
}  # fmt: skip
_FREE_CALLS = ("AllocateBuffer", "ConcatBitcast", "Sharding", "SliceBitcast")
_BITS = {"pred": 8, "bf16": 16, "token": 0, "opaque": 0}

_COMPUTATION = re.compile(r"(ENTRY )?%?([\w.\-]+) \(.*\{\s*$")
_INSTRUCTION = re.compile(r"\s+(?:ROOT )?%?([\w.\-]+) = (.*)$")
_CALLED = re.compile(
    r"\b(calls|body|condition|to_apply|branch_computations)=\{?([^,}\s]+(?:, %[^,}\s]+)*)"
)
_ARRAY = re.compile(r"\b([a-z]\w*)\[([\d,<=]*)\]")


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One instruction: one line of a program.

    Attributes:
      name: name within the computation.
      opcode: the operation, such as "fusion".
      arrays: type and number of elements of each result.
      operands: names of the operands.
      op_name: place in the traced function; "" if the line does not give it.
      cycles: the compiler's estimate, or None.
      called: names of computations by how they are called ("calls", "body", "condition", ...).
      text: the line.
    """

    name: str
    opcode: str
    arrays: tuple[tuple[str, int], ...]
    operands: tuple[str, ...]
    op_name: str
    cycles: int | None
    called: dict[str, list[str]]
    text: str

    @property
    def bytes(self) -> int:
        """Bytes of the results."""
        return sum(_bits(kind) * count for kind, count in self.arrays) // 8

    @property
    def collective(self) -> str | None:
        """The collective, one of `COLLECTIVES`, or None."""
        kind = self.opcode.removesuffix("-start")
        return kind if kind in COLLECTIVES else None


@dataclasses.dataclass(frozen=True)
class Event:
    """An executed instruction, and its number of executions in one run of the program."""

    instruction: Instruction
    times: int
    phase: str


@dataclasses.dataclass(frozen=True)
class Message:
    """A collective: its kind, the bytes of its result, and its number of executions."""

    kind: str
    bytes: int
    times: int


class Module:
    """A compiled program.

    Args:
      text: result of `compiled.as_text()`.
      phase: phase of instructions whose name gives no part of a training step.
    """

    def __init__(self, text: str, phase: str = "rest"):
        self._phase = phase
        self._computations: dict[str, dict[str, Instruction]] = {}
        self._entry = ""
        current: dict[str, Instruction] = {}
        for line in text.splitlines():
            if not line.startswith((" ", "}")) and (opens := _COMPUTATION.match(line)):
                current = self._computations[opens[2]] = {}
                self._entry = opens[2] if opens[1] else self._entry
            elif found := _INSTRUCTION.match(line):
                parsed = _instruction(found[1], found[2])
                if parsed is not None:
                    current[parsed.name] = parsed

    def events(self) -> Iterator[Event]:
        """All executed instructions of one run, in the order of the text."""
        yield from self._walk(self._entry, 1, "")

    def cycles(self) -> dict[str, int]:
        """Estimated cycles by phase (`PHASES`); their sum is the estimate of the program."""
        found: dict[str, int] = dict.fromkeys(PHASES, 0)
        for event in self.events():
            found[event.phase] += event.times * (event.instruction.cycles or 0)
        return found

    def without_estimate(self) -> dict[str, dict[str, int]]:
        """Count and bytes of operations without an estimate, by kind, without collectives.

        Bytes are those of the results. Results below one kilobyte, and `_FREE`, are left out.
        """
        found: dict[str, dict[str, int]] = collections.defaultdict(lambda: {"count": 0, "bytes": 0})
        for event in self.events():
            each = event.instruction
            if each.cycles is None and not _free(each) and each.bytes >= 1024:
                kind = self._kind(each)
                found[kind]["count"] += event.times
                found[kind]["bytes"] += event.times * each.bytes
        return dict(sorted(found.items()))

    def in_background(self) -> dict[str, int]:
        """Count and bytes of background copies, such as those to fast memory.

        The compiler starts them before their use. If they take longer, the chip waits.
        """
        moves = [
            event
            for event in self.events()
            if event.instruction.opcode.endswith("-start") and not event.instruction.collective
        ]
        return {
            "count": sum(move.times for move in moves),
            # The result holds its source beside the copy.
            "bytes": sum(move.times * move.instruction.bytes // 2 for move in moves),
        }

    def messages(self) -> list[Message]:
        """All collectives, including those inside fusions."""
        found = []
        for event, each in self._inside(lambda each: each.collective is not None):
            # Where a start holds its operand beside its result, one of them is sent.
            twice = each.opcode in ("all-gather-start", "collective-permute-start")
            size = each.bytes // 2 if twice else each.bytes
            found.append(Message(str(each.collective), size, event.times))
        return found

    def gathers(self) -> list[int]:
        """Number of result elements of each gather, including those inside fusions and loops."""
        gathers = self._inside(lambda each: each.opcode == "gather")
        return [
            sum(n for _, n in each.arrays) for event, each in gathers for _ in range(event.times)
        ]

    def _inside(self, wanted: Callable[[Instruction], bool]) -> Iterator[tuple[Event, Instruction]]:
        for event in self.events():
            each = event.instruction
            if wanted(each):
                yield event, each
            elif each.opcode in ("fusion", "async-start", "custom-call"):
                for name in each.called.get("calls", ()):
                    for within in self._computations.get(name, {}).values():
                        if wanted(within):
                            yield event, within

    def _walk(self, computation: str, times: int, outer: str) -> Iterator[Event]:
        known: dict[str, str] = {}
        for each in self._computations.get(computation, {}).values():
            own = self._own_phase(each)
            taken = next((known[name] for name in each.operands if known.get(name)), "")
            known[each.name] = own or taken or outer
            phase = known[each.name] or self._phase
            if each.opcode == "while":
                runs = times * self._runs(each)
                for name in each.called.get("body", ()):
                    yield from self._walk(name, runs, phase)
            elif each.opcode in ("call", "conditional", "async-start"):
                for how in ("calls", "to_apply", "branch_computations"):
                    for name in each.called.get(how, ()):
                        yield from self._walk(name, times, phase)
            yield Event(each, times, phase)

    def _own_phase(self, each: Instruction) -> str:
        """The phase from the name of an instruction or of its contents; "" if neither gives one."""
        if each.op_name:
            return phase_of(each.op_name) or self._phase
        for name in each.called.get("calls", ()):
            for within in self._computations.get(name, {}).values():
                if within.op_name:
                    return phase_of(within.op_name) or self._phase
        return ""

    def _runs(self, loop: Instruction) -> int:
        """Number of iterations of a loop; 1 if the text does not give it."""
        if known := re.search(r'known_trip_count"?:\{"?n"?:"?(\d+)', loop.text):
            return int(known[1])
        for name in loop.called.get("condition", ()):
            lines = [each.text for each in self._computations.get(name, {}).values()]
            limits = [int(n) for text in lines for n in re.findall(r"constant\((\d+)\)", text)]
            if len(limits) == 1 and any("direction=LT" in text for text in lines):
                return limits[0]
        return 1

    def _kind(self, each: Instruction) -> str:
        """Kind of an instruction; for a fusion, the kind of the operation that decides its cost."""
        for name in each.called.get("calls", ()):
            inside = {within.opcode for within in self._computations.get(name, {}).values()}
            for kind in ("gather", "scatter", "sort", "convolution", "reduce-window", "dot"):
                if kind in inside:
                    return kind
        return each.opcode


def phase_of(op_name: str) -> str:
    """The part of a training step from a name such as "jit(step)/jvp()/add", or ""."""
    if "augmentation" in op_name or "_augment" in op_name:
        return "augmentation"
    if "transpose(" in op_name:
        return "backward"
    if "jvp(" in op_name:
        return "forward"
    return "optimiser" if "/optimiser" in op_name else ""


def _free(each: Instruction) -> bool:
    background = each.opcode.endswith(("-start", "-done"))
    named = each.opcode == "custom-call" and any(f'"{name}"' in each.text for name in _FREE_CALLS)
    return background or named or each.opcode in _FREE or each.collective is not None


def _instruction(name: str, rest: str) -> Instruction | None:
    made, rest = _split_type(rest)
    opens = re.match(r"([\w\-]+)\(", rest)
    if opens is None:
        return None
    end = _closing(rest, opens.end() - 1)
    op_name = re.search(r'op_name="([^"]*)"', rest)
    cycles = re.search(r'"estimated_cycles":"?(\d+)', rest)
    return Instruction(
        name=name,
        opcode=opens[1],
        arrays=tuple((kind, _count(sizes)) for kind, sizes in _ARRAY.findall(made)),
        operands=tuple(re.findall(r"%([\w.\-]+)", rest[opens.end() : end])),
        op_name=op_name[1] if op_name else "",
        cycles=int(cycles[1]) if cycles else None,
        called={how: re.findall(r"[\w.\-]+", names) for how, names in _CALLED.findall(rest[end:])},
        text=rest if opens[1] in ("while", "custom-call", "constant", "compare") else "",
    )


def _split_type(rest: str) -> tuple[str, str]:
    end = _closing(rest, 0) + 1 if rest.startswith("(") else rest.find(" ")
    return rest[:end], rest[end:].lstrip()


def _closing(text: str, start: int) -> int:
    """Position of the parenthesis that closes the one at `start`."""
    depth = 0
    for place in range(start, len(text)):
        depth += (text[place] == "(") - (text[place] == ")")
        if depth == 0:
            return place
    return len(text)


def _count(sizes: str) -> int:
    return math.prod(int(size.lstrip("<=")) for size in sizes.split(",") if size)


def _bits(kind: str) -> int:
    digits = re.search(r"\d+", kind)
    return _BITS[kind] if kind in _BITS else int(digits[0]) if digits else 32
