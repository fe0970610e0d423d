"""Three reporting checklists, item by item: answers of the run and open items for the author.

`items.csv` lists the items: `facts` names the facts that answer an item, see `facts`, and `author`
describes the text that the author must add. Topics are in our own words.

Numbers and topics follow public item-by-item transcriptions of the checklists, which were compared
with the published article or supplement by their authors. The articles themselves were not
available when `items.csv` was made, so compare the numbers with the form of the journal.
"""

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any, NamedTuple

from cervix_jax.report.checklist.facts import ABSENT

ANSWERED, PARTLY, AUTHOR = "answered", "partly", "author"
STATUSES = (ANSWERED, PARTLY, AUTHOR)
VERIFICATION = (
    "Numbers and topics follow public transcriptions of the checklists, not the published articles "
    "themselves. Compare them with the form of the journal before submission."
)
_COLUMNS = ("checklist", "item", "section", "topic", "status", "answer", "to write")


class Checklist(NamedTuple):
    """A published checklist.

    Attributes:
      title: common name.
      source: published article.
      items: number of its numbered items.
    """

    title: str
    source: str
    items: int


CHECKLISTS: Mapping[str, Checklist] = {
    "claim": Checklist(
        "CLAIM 2024",
        "Tejani et al., Radiology: Artificial Intelligence 2024;6(4):e240300, "
        "doi 10.1148/ryai.240300",
        44,
    ),
    "tripod": Checklist(
        "TRIPOD+AI", "Collins et al., BMJ 2024;385:e078378, doi 10.1136/bmj-2023-078378", 27
    ),
    "stard": Checklist(
        "STARD-AI",
        "Sounderajah et al., Nature Medicine 2025;31(10):3283-3289, doi 10.1038/s41591-025-03953-8",
        40,
    ),
}


class Item(NamedTuple):
    """An item, filled in.

    Attributes:
      number: number of the item, with the letter of a sub-item.
      section: section of the article.
      topic: topic of the item, in our own words.
      status: "answered" if the run stores the full answer, "partly", or "author".
      answer: facts of the run, or "".
      to_write: text that the author must add, or "".
    """

    number: str
    section: str
    topic: str
    status: str
    answer: str
    to_write: str


class Filled(NamedTuple):
    """A checklist, filled in.

    Attributes:
      checklist: the published checklist.
      items: its items in order.
    """

    checklist: Checklist
    items: list[Item]

    @property
    def counts(self) -> dict[str, int]:
        """Number of rows by status."""
        found = Counter(item.status for item in self.items)
        return {status: found[status] for status in STATUSES}

    @property
    def summary(self) -> str:
        """The title, the number of items and the counts in words."""
        counts, rows, items = self.counts, len(self.items), self.checklist.items
        size = f"{items} items" if rows == items else f"{items} items in {rows} rows"
        return (
            f"{self.checklist.title} ({size}): {counts[ANSWERED]} answered by the run, "
            f"{counts[PARTLY]} partly, {counts[AUTHOR]} for the author to write"
        )


def fill_in(facts: Mapping[str, str]) -> list[Filled]:
    """All checklists, filled in.

    Args:
      facts: from `facts.read_facts`.
    """
    filled = {name: Filled(checklist, []) for name, checklist in CHECKLISTS.items()}
    for row in _rows():
        filled[row["checklist"]].items.append(_item(row, facts))
    return list(filled.values())


def markdown(filled: Sequence[Filled], title: str) -> str:
    """The checklists as Markdown that an author edits.

    Args:
      filled: from `fill_in`.
      title: of the report.
    """
    lines = [f"# Reporting checklists: {_line(title)}", "", VERIFICATION]
    for checklist, items in filled:
        whole = Filled(checklist, items)
        lines += ["", f"## {checklist.title}", "", f"{checklist.source}.", "", f"{whole.summary}."]
        for item in items:
            lines += ["", f"### {item.number}. {item.topic}", "", f"Status: {item.status}."]
            lines += ["", _line(item.answer)] if item.answer else []
            lines += ["", f"To write: {item.to_write}"] if item.to_write else []
    return "\n".join(lines) + "\n"


def csv_text(filled: Sequence[Filled]) -> str:
    """The checklists as CSV, a row for each item.

    Args:
      filled: from `fill_in`.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(_COLUMNS)
    for checklist, items in filled:
        for item in items:
            writer.writerow([checklist.title, *item])
    return text.getvalue()


def _rows() -> list[dict[str, str]]:
    text = (
        resources.files("cervix_jax.report.checklist")
        .joinpath("items.csv")
        .read_text(encoding="utf-8")
    )
    return list(csv.DictReader(io.StringIO(text)))


def _item(row: Mapping[str, Any], facts: Mapping[str, str]) -> Item:
    names = [name for name in row["facts"].split(";") if name]
    answers = [facts[name] for name in names if name in facts]
    lacking = [ABSENT.get(name, f"The run stores no {name.replace('_', ' ')}.")
               for name in names if name not in facts]  # fmt: skip
    to_write = " ".join([*lacking, *filter(None, [row["author"]])])
    status = AUTHOR if not answers else PARTLY if to_write else ANSWERED
    return Item(row["item"], row["section"], row["topic"], status, " ".join(answers), to_write)


def _line(text: str) -> str:
    return " ".join(text.split())
