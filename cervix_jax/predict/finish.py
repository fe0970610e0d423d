"""Final output when all units are done: groups and the one table, also from the parts of shards."""

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from cervix_jax.errors import InputError
from cervix_jax.files import atomic
from cervix_jax.files.lock import held
from cervix_jax.predict.cell_files import write_fields
from cervix_jax.predict.groups import write_groups
from cervix_jax.predict.images_page import write_page
from cervix_jax.predict.output import Output, check_suffix
from cervix_jax.predict.parts import UNREADABLE, Part, differing, has_end, read_part
from cervix_jax.predict.shard import WHOLE, Shard, parts_beside
from cervix_jax.predict.table import Table, beside

_NAMED = 20  # maximum number of shards in a message


@dataclasses.dataclass(frozen=True)
class Predicted:
    """The output that was written.

    Attributes:
      path: the table.
      images: number of images processed; with cells, number of fields and rows of tiles.
      rows: number of rows of the table.
      skipped: number of images left out.
      skipped_path: table of the images left out, with reasons; None if there are none.
      groups_path: table of the groups, or None if none were requested.
      groups: number of groups.
      rule: rule that combined the images of a group.
      ungrouped: number of images with a row but without a group.
      maps: folder of the pictures or pages and GeoJSON of fields, or None for images.
      fields_path: table of the fields and slides of the cells, or None without cells.
      html: page of the images, or None without one.
      unread: files in folders that were ignored, by suffix; "" counts those without a suffix.
      no_sets: why a table of images lacks the column `conformal_set`; "" if it has it.
      shard: the share of this process; numbers above refer to it while there is no table.
      waiting: why there is no table yet, such as "shards 2 and 3 of 4 are missing"; "" if there is
        one.
    """

    path: Path
    images: int
    rows: int
    skipped: int = 0
    skipped_path: Path | None = None
    groups_path: Path | None = None
    groups: int = 0
    rule: str = ""
    ungrouped: int = 0
    maps: Path | None = None
    fields_path: Path | None = None
    html: Path | None = None
    unread: Mapping[str, int] = dataclasses.field(default_factory=dict)
    no_sets: str = ""
    shard: Shard = WHOLE
    waiting: str = ""


class _OtherCommand(InputError):
    """The parts of shards are from different commands."""


def finish(table: Table) -> Predicted:
    """Write everything that is made from all units together, and the table last.

    Raises:
      InputError: no unit could be predicted, or the disk is full; the parts are kept.
    """
    facts, groups = table.facts, None
    with atomic.storage_named(table.path):
        if facts.get("--group") and table.rows:
            groups = write_groups(
                beside(table.path, "groups"), table.read(), facts["class_names"],
                facts["--aggregate"],
            )  # fmt: skip
        page = Path(facts["--html"]) if facts.get("--html") and table.rows else None
        if page:
            write_page(page, table)
        fields = None
        if facts.get("--field") == "cells" and table.skipped < table.units:
            fields = beside(table.path, "fields")
            write_fields(fields, table.entries(), facts)
        table.write()
    return Predicted(
        table.path,
        table.units,
        table.rows,
        table.skipped,
        skipped_path=table.skipped_path if table.skipped else None,
        groups_path=beside(table.path, "groups") if groups else None,
        groups=groups.groups if groups else 0,
        rule=facts["--aggregate"] if groups else "",
        ungrouped=groups.alone if groups else 0,
        maps=Path(facts["--maps"]) if facts.get("--field") else None,
        fields_path=fields,
        html=page,
    )


def merge_shards(out: str | Path) -> Predicted:
    """Write the table from the parts of all shards beside it, and remove the parts.

        merge_shards("predicted.csv")

    Args:
      out: the table.

    Raises:
      InputError: a part is missing, unfinished or from another command, or another process is
        writing the table.
    """
    path = Path(out)
    check_suffix(path)
    with held(path, f"--out={path}"):
        found = parts_beside(path)
        if not found:
            raise InputError(
                f"--out={path}: there are no parts of shards beside it; start predict with "
                "--shard=1/4 to 4/4, or with as many shards as there are machines."
            )
        counts = sorted({shard.count for shard in found})
        if len(counts) > 1:
            raise InputError(
                f"--out={path}: the folder holds parts of a command with {counts[0]} shards and of "
                f"one with {counts[1]} shards; remove the parts of one of them."
            )
        waiting = _waiting(path, counts[0])
        if waiting and path.exists():  # stopped while parts were removed, or started again
            raise InputError(
                f"--out={path}: exists already, and {waiting}; if this table already holds the "
                "results of all shards, remove the remaining parts; otherwise start each of the "
                f"named shards with --shard=K/{counts[0]} --overwrite."
            )
        if waiting:
            raise InputError(
                f"--out={path}: {waiting}; start each of these with --shard=K/{counts[0]} --resume."
            )
        return finish(_joined(path, counts[0]))


def finish_output(output: Output) -> Predicted:
    """Finish a complete part: write the table unless other shards are unfinished.

    Raises:
      InputError: no unit could be predicted, the disk is full, or the shards are from different
        commands; the parts are kept.
    """
    if output.shard == WHOLE:
        return finish(output.table())
    try:
        found = _finish_if_last(output.path, output.shard.count)
    except _OtherCommand as error:
        if not output.overwrite:
            raise
        found = str(error).rstrip(".")  # the other shard may still be overwritten
    if isinstance(found, Predicted):
        return dataclasses.replace(found, shard=output.shard)
    return Predicted(
        output.path, output.units, output.rows, output.skipped, shard=output.shard, waiting=found
    )


def _finish_if_last(path: Path, count: int) -> Predicted | str:
    """Write the table if all shards are finished, or return the reason why not."""
    if (waiting := _waiting(path, count)) and not _is_made(path):
        return waiting
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(held(path, f"--out={path}"))
        except InputError:
            return "another process is writing the table"
        if _is_made(path):  # by another process, before this one got the lock
            return "another process wrote the table"
        return _waiting(path, count) or finish(_joined(path, count))


def _is_made(path: Path) -> bool:
    return path.exists() and not parts_beside(path)


def _waiting(path: Path, count: int) -> str:
    """Shards that are missing or unfinished, for a message; "" if there are none."""
    missing: list[int] = []
    unfinished: list[int] = []
    for number in range(1, count + 1):
        place = Shard(number, count).part_of(path)
        try:
            if not has_end(place):
                unfinished.append(number)
        except FileNotFoundError:
            missing.append(number)
        except OSError as error:
            raise InputError(
                f"{place}: cannot be read ({error.strerror}); check its permissions."
            ) from error
    return " and ".join(
        f"{_numbers(numbers)} of {count} {'is' if len(numbers) == 1 else 'are'} {what}"
        for numbers, what in ((missing, "missing"), (unfinished, "unfinished"))
        if numbers
    )


def _joined(path: Path, count: int) -> Table:
    """The table of the finished parts of all shards.

    Raises:
      InputError: a part is damaged.
      _OtherCommand: the parts are from different commands.
    """
    parts: list[Part] = []
    for number in range(1, count + 1):
        place = Shard(number, count).part_of(path)
        try:
            part = read_part(place)
            if part.end is None:
                raise ValueError("its last line is missing")
            first = parts[0] if parts else part
            strange = differing(part.head, first.head)
        except UNREADABLE as error:
            raise InputError(
                f"{place}: cannot be read ({error}); start this shard again with --overwrite."
            ) from error
        assert first.end is not None
        if not strange and (part.end.of, part.end.listed) != (first.end.of, first.end.listed):
            strange = f"other images ({part.end.of} in all)"
        if strange:
            raise _OtherCommand(
                f"{place}: was made with {strange}, unlike {first.path.name}; start one of the two "
                "shards again with --overwrite."
            )
        parts.append(part)
    return Table(path, parts)


def _numbers(numbers: Sequence[int]) -> str:
    """A list such as "shards 2, 3 and 5"."""
    named = [str(number) for number in numbers[:_NAMED]]
    if len(numbers) > _NAMED:
        named.append(f"{len(numbers) - _NAMED} more")
    if len(named) == 1:
        return f"shard {named[0]}"
    return f"shards {', '.join(named[:-1])} and {named[-1]}"
