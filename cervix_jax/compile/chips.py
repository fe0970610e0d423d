"""TPU chips and slices: the published figures, and the time of an all-reduce over a slice.

Sources, read in November 2026: peak, memory and its bandwidth from docs.cloud.google.com/tpu/docs/
(v4, v5e, v5p-training, v6e); bytes per second of a link, and the rule for rings, from "How to Scale
Your Model" (jax-ml.github.io/scaling-book, parts 2 and 3).
"""

import dataclasses
import math
import re

from cervix_jax.errors import InputError, did_you_mean

HOP_SECONDS = 1e-6
"""Latency of one hop between neighbours: the scaling book's rule of thumb."""


@dataclasses.dataclass(frozen=True)
class Chip:
    """One generation of TPUs; all figures are of one chip.

    Attributes:
      name: the name in topologies, such as "v5e".
      flops: peak bfloat16 operations per second.
      hbm: bytes of memory for a program: the compiler's limit, from its message for a program that
        does not fit (libtpu 0.0.50); the vendor's figure is a few hundred MB larger.
      hbm_bandwidth: bytes per second.
      link: bytes per second of one link in one direction.
      clock: cycles per second. An ESTIMATE, because the vendor publishes none: `flops` over the
        operations per cycle of the matrix units. In the compiler's estimates, large matrix
        products reach 87 to 97 % of these operations per cycle (see docs/accelerators.md).
      axes: number of dimensions of the network between chips.
      ring: axes whose length is a multiple of this are rings; shorter ones are lines.
      accelerator: the smallest type of Cloud TPU, as the vendor names it.
      config: the compiler's name for how the cores of a chip work; two cores work as one.
      cores: what the number in the vendor's name of a type counts, a chip.
      topologies: shapes that can be had.
    """

    name: str
    flops: float
    hbm: int
    hbm_bandwidth: float
    link: float
    clock: float
    axes: int
    ring: int
    accelerator: str
    config: str
    cores: int
    topologies: tuple[str, ...]


_GIB = 2**30
_FLAT = ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
_CUBES = ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8", "8x8x8")

CHIPS = {
    chip.name: chip
    for chip in (
        # 2 cores of 4 units of 128 x 128, each a multiplication and an addition: 2 ** 18 a cycle.
        Chip("v4", 275e12, int(30.75 * _GIB), 1200e9, 4.5e10, 275e12 / 2**18,
             3, 4, "v4-8", "megacore", 2, _CUBES),
        # 1 core of 4 units of 128 x 128: 2 ** 17 a cycle.
        Chip("v5e", 197e12, int(15.75 * _GIB), 819e9, 4.5e10, 197e12 / 2**17,
             2, 16, "v5litepod-8", "default", 1, _FLAT),
        # As v4.
        Chip("v5p", 459e12, int(95.73 * _GIB), 2765e9, 9e10, 459e12 / 2**18,
             3, 4, "v5p-8", "default", 2, _CUBES),
        # The vendor says 2 units of 256 x 256, 2 ** 18 a cycle; the compiler reckons with up to
        # 1.74 times as many, so they must do twice that.
        Chip("v6e", 918e12, int(31.24 * _GIB), 1638e9, 9e10, 918e12 / 2**19,
             2, 16, "v6e-8", "default", 1, _FLAT),
    )
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Slice:
    """Chips of one generation and how they are connected.

    Attributes:
      chip: the generation.
      shape: chips along each axis.
    """

    chip: Chip
    shape: tuple[int, ...]

    @property
    def name(self) -> str:
        """Name of the slice, such as "v5e:2x4"."""
        return f"{self.chip.name}:{'x'.join(map(str, self.shape))}"

    @property
    def chips(self) -> int:
        """Number of chips."""
        return math.prod(self.shape)

    def all_reduce_seconds(self, count: float, size: float) -> float:
        """Seconds of `count` all-reduces with `size` bytes in total over all chips, in sequence.

        Each byte crosses the links twice, except the share that the chip already holds. All axes
        transfer at the same time, and rings in both directions. Each all-reduce waits twice for
        the farthest chip of every axis. Nothing overlaps with arithmetic.
        """
        if self.chips == 1:
            return 0.0
        bandwidth = hops = 0.0
        for length in self.shape:
            ring = length % self.chip.ring == 0
            if length > 1:
                bandwidth += self.chip.link * (2 if ring else 1)
                hops += length / 2 if ring else length - 1
        moved = 2 * size * (self.chips - 1) / self.chips
        return moved / bandwidth + count * 2 * hops * HOP_SECONDS


def parse_topology(name: str) -> Slice:
    """The slice of a topology such as "v5e:2x4", or of a type of Cloud TPU, such as "v5litepod-8".

    Raises:
      InputError: the name is unknown; the message lists the known names.
    """
    found = re.fullmatch(r"(\w+)-(\d+)", name)
    if found:
        for chip in CHIPS.values():
            if chip.accelerator.partition("-")[0] == found[1]:
                for each in slices(chip):
                    if each.chips * chip.cores == int(found[2]):
                        return each
    generation, _, shape = name.partition(":")
    chip = CHIPS.get(generation)
    if chip is None or shape not in chip.topologies:
        known = [f"{each.name}:{shape}" for each in CHIPS.values() for shape in each.topologies]
        raise InputError(
            f"--topology={name}: no such slice{did_you_mean(name, known)}; give one of "
            f"{', '.join(known)}, or a type such as v5litepod-8."
        )
    return Slice(chip, _lengths(shape))


def slices(chip: Chip) -> list[Slice]:
    """All slices of a generation, from small to large."""
    return [Slice(chip, _lengths(shape)) for shape in chip.topologies]


def _lengths(shape: str) -> tuple[int, ...]:
    return tuple(map(int, shape.split("x")))
