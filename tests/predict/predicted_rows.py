"""Reads what the command wrote."""

import csv
import json
from pathlib import Path

import numpy as np


def read_rows(path: Path) -> list[dict]:
    """Rows of a CSV file or of lines of JSON."""
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, strict=True))


def probabilities_of(rows: list[dict]) -> np.ndarray:
    """float64 [n, C] of the columns p_<class>."""
    return np.asarray([[float(r[name]) for name in r if name.startswith("p_")] for r in rows])
