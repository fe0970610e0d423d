"""Reads what the command wrote, and draws what it is given."""

import csv
import json
from pathlib import Path

import numpy as np
from PIL import Image


def read_rows(path: Path) -> list[dict]:
    """Rows of a CSV file or of lines of JSON."""
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, strict=True))


def probabilities_of(rows: list[dict]) -> np.ndarray:
    """float64 [n, C] of the columns p_<class>."""
    return np.asarray([[float(r[name]) for name in r if name.startswith("p_")] for r in rows])


def glass(width: int, height: int) -> Image.Image:
    """An empty slide: less than one grey value of noise, as what has one colour is no image."""
    noise = np.random.default_rng(0).integers(0, 3, (height, width, 3), np.uint8)
    return Image.fromarray(np.asarray((229, 224, 234), np.uint8) + noise)
