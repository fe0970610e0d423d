"""Shards: shares of the units of a prediction for several processes."""

import dataclasses
import re
from pathlib import Path

from cervix_jax.errors import InputError

_WRITTEN = re.compile(r"(\d{1,6})/(\d{1,6})", re.ASCII)


@dataclasses.dataclass(frozen=True, order=True)
class Shard:
    """Share `number` of `count`, counted from 1; 1 of 1 is everything.

    Units are dealt in turn: of units 0, 1, 2, ... shard k of n takes those with i % n = k - 1. If
    several units form a batch of the network, whole batches are dealt. Each unit then has the same
    place in its batch as in a single process, which matters because rounding depends on it.
    """

    number: int
    count: int

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def takes(self, index: int, together: int = 1) -> bool:
        """Whether the shard has the unit of index `index` from 0; `together` units make a batch."""
        return index // together % self.count == self.number - 1

    def size(self, units: int, together: int = 1) -> int:
        """Number of units in this shard, of `units` in total."""
        batches = range(self.number - 1, -(-units // together), self.count)
        return sum(min(together, units - batch * together) for batch in batches)

    def part_of(self, table: Path) -> Path:
        """The part file, which holds its results until the table is made."""
        if self == WHOLE:
            return table.with_name(f"{table.name}.part")
        digits = len(str(self.count))
        return table.with_name(f"{table.name}.shard-{self.number:0{digits}}-of-{self.count}.part")


WHOLE = Shard(1, 1)


def parse_shard(given: str) -> Shard:
    """Parse a shard such as "3/16".

    Raises:
      InputError: the text is not a shard, or its number exceeds the number of shards.
    """
    found = _WRITTEN.fullmatch(given) if isinstance(given, str) else None
    shard = Shard(int(found[1]), int(found[2])) if found else Shard(0, 0)
    if not 1 <= shard.number <= shard.count:
        raise InputError(f"--shard={given}: give number/total, counted from 1, e.g. 3/16.")
    return shard


def parts_beside(table: Path) -> dict[Shard, Path]:
    """The parts of shards beside a table, in order.

    Raises:
      InputError: the folder cannot be listed.
    """
    pattern = re.compile(rf"{re.escape(table.name)}\.shard-(\d+)-of-(\d+)\.part")
    try:
        names = [path.name for path in table.parent.iterdir()] if table.parent.is_dir() else []
    except OSError as error:
        raise InputError(
            f"{table.parent}: cannot be listed ({error.strerror}); check its permissions."
        ) from error
    found = (Shard(int(m[1]), int(m[2])) for name in names if (m := pattern.fullmatch(name)))
    paths = {shard: shard.part_of(table) for shard in sorted(found) if shard.count > 1}
    return {shard: path for shard, path in paths.items() if path.name in names}
