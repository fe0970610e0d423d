"""Groups of images that share a slide, cluster or field, and one prediction for each group."""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

import numpy as np

from cervix_jax.errors import InputError
from cervix_jax.evaluate.predictions_file import PREFIX
from cervix_jax.files import atomic
from cervix_jax.predict.parts import Entry
from cervix_jax.predict.picture_names import shown
from cervix_jax.predict.table import csv_text
from cervix_jax.statistics.aggregation import RULES

PARENT = "parent"


def group_rule(given: str) -> Callable[[str], str]:
    """A function from a path to the name of its group, "" if it has none.

    Args:
      given: "parent" for the folder of the image, or a regular expression that is searched in the
        path (with `/` between folders) and whose first capture group is the name.

    Raises:
      InputError: the text is not a regular expression, or has no capture group.
    """
    if given == PARENT:
        return lambda path: shown(PurePath(path).parent.as_posix())
    try:
        pattern = re.compile(given)
    except re.error as error:
        raise InputError(f"--group={given}: is not a regular expression ({error}).") from error
    if not pattern.groups:
        raise InputError(
            f"--group={given}: has no capture group; put the part that names the group in "
            "(parentheses), or give --group=parent."
        )

    def name_of(path: str) -> str:
        found = pattern.search(PurePath(path).as_posix())
        return (found[1] or "") if found else ""

    return name_of


class GroupCount(NamedTuple):
    """Number of groups, and number of images without a group."""

    groups: int
    alone: int


def write_groups(
    path: Path, rows: Iterable[Entry], class_names: Sequence[str], rule: str
) -> GroupCount:
    """Write a table with one row per group, sorted by name; images without a group are left out.

    Args:
      path: the table, a CSV file.
      rows: rows of images, with `group` and `p_<class>`.
      class_names: C names.
      rule: one of `statistics.aggregation.RULES`.
    """
    groups: dict[str, list[np.ndarray]] = {}
    columns = [f"{PREFIX}{name}" for name in class_names]
    alone = 0
    for row in rows:
        if row["group"]:
            values = np.asarray([row[name] for name in columns], np.float64)
            groups.setdefault(row["group"], []).append(values)
        else:
            alone += 1
    found: list[list[object]] = [["group", "images", "rule", "class", *columns]]
    for name in sorted(groups):
        members = np.stack(groups[name])
        # Probabilities with six digits do not sum exactly to 1.
        joined = RULES[rule](members / members.sum(1, keepdims=True))
        best = class_names[int(joined.argmax())]
        found.append([name, len(members), rule, best, *(f"{p:.6g}" for p in joined)])
    with atomic.replacing(path) as temporary:
        temporary.write_bytes(csv_text(found))
    return GroupCount(len(groups), alone)
