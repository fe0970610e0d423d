"""Checksums of the content of a checkpoint, stored in its metadata."""

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from cervix_jax.runs.damage import DamagedCheckpointError

CHECKSUMS = "crc32"


def json_sum(value: Any) -> int:
    """Return the checksum of a value, independent of the order of its keys."""
    return zlib.crc32(json.dumps(value, sort_keys=True).encode())


def json_sums(items: dict[str, Any], metrics: dict | None) -> dict[str, int]:
    """Return the checksum of each JSON file; earlier versions saved one for all, "json"."""
    sums = {f"{name}/metadata": json_sum(item) for name, item in items.items()}
    return sums | {"metrics/metrics": json_sum(metrics)}


def array_sums(state: dict[str, Any]) -> dict[str, int]:
    """Return the checksum of each part of a state, over its arrays sorted by name as text.

    Restored lists have this order, in which their items are "0", "1", "10".
    """
    sums = {}
    for part, arrays in state.items():
        total = 0
        for array in jax.tree.leaves(_named_by_texts(arrays)):
            content = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
            total = zlib.crc32(content.data, total)
        sums[part] = total
    return sums


def _named_by_texts(tree: Any) -> Any:
    if not isinstance(tree, Mapping):
        return tree
    return {str(key): _named_by_texts(value) for key, value in tree.items()}


def compare(folder: Path, step: int, found: dict[str, int]) -> None:
    """Raise DamagedCheckpointError if a checksum differs from the saved one."""
    path = folder / str(step) / "_CHECKPOINT_METADATA"
    metadata = json.loads(path.read_text(encoding="utf-8"))
    if "custom_metadata" not in metadata:
        raise DamagedCheckpointError(f"{path}: is damaged: it has no custom_metadata")
    saved = (metadata["custom_metadata"] or {}).get(CHECKSUMS, {})  # earlier versions saved none
    for part, value in found.items():
        if saved.get(part, value) != value:
            named = part if "/" in part else "*/metadata" if part == "json" else "state"
            of = f" of {part}" if named == "state" else ""
            raise DamagedCheckpointError(
                f"{folder / str(step) / named}: the values{of} differ from the saved ones"
            )
