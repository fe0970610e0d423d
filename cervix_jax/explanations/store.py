"""Maps and measured values on disk, so that finished results are not computed again.

Each file is written atomically and stores its settings. A file with the requested settings is read.
A file with other settings raises an error, or is computed again with `overwrite`.
"""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from cervix_jax.errors import InputError
from cervix_jax.files.atomic import replacing, write_text
from cervix_jax.progress import Bar

SHOWN = 3
LATER = ("pixels",)  # settings that earlier versions did not record


@dataclasses.dataclass(frozen=True)
class Store:
    """A folder of maps and values of the same images and network.

    Attributes:
      folder: folder of the files.
      made_with: settings that all files share, JSON-ready; includes `filenames` and `targets` of
        the images.
      overwrite: whether files with other settings are replaced.
    """

    folder: Path
    made_with: dict[str, Any]
    overwrite: bool = False

    def maps(
        self,
        name: str,
        settings: dict[str, Any],
        make: Callable[[slice], np.ndarray],
        *,
        chunk: int,
        progress: str = "",
    ) -> np.ndarray:
        """Maps of `<name>.npz`, read or made; arguments as for `load_or_make_maps`."""
        return load_or_make_maps(
            self.folder / f"{name}.npz", self.made_with | settings, make,
            chunk=chunk, overwrite=self.overwrite, progress=progress,
        )  # fmt: skip

    def values(
        self, name: str, settings: dict[str, Any], make: Callable[[], dict[str, np.ndarray]]
    ) -> dict[str, np.ndarray]:
        """Values of `<name>.json`, read or made; arguments as for `load_or_make_values`."""
        return load_or_make_values(
            self.folder / f"{name}.json", self.made_with | settings, make, overwrite=self.overwrite
        )

    def below(self, folder: str, **more: Any) -> "Store":
        """A store in a subfolder, whose files depend on additional settings."""
        return dataclasses.replace(
            self, folder=self.folder / folder, made_with=self.made_with | more
        )


def load_or_make_maps(
    path: Path,
    settings: dict[str, Any],
    make: Callable[[slice], np.ndarray],
    *,
    chunk: int,
    overwrite: bool = False,
    progress: str = "",
) -> np.ndarray:
    """The maps of a file; missing maps are computed and stored chunk by chunk.

    Args:
      path: `<method>.npz`; contains `maps` float32, `filenames`, `targets` int64 and `settings`
        (JSON). Chunks are stored in `<method>.parts` until all are computed.
      settings: JSON-ready; includes `filenames` and `targets` of the N images.
      make: maps a slice of the images to their maps.
      chunk: images in one chunk.
      overwrite: whether a file with other settings is replaced.
      progress: label of the progress bar.

    Returns:
      float32 [N, S, S, 3] or [N, S, S].

    Raises:
      InputError: the file has other settings, or cannot be read.
    """
    found = _read_maps(path, settings, overwrite)
    if found is not None:
        return found
    parts, count = path.with_suffix(".parts"), len(settings["filenames"])
    chunks = []
    starts = range(0, count, chunk)
    for start in Bar(starts, desc=progress, unit="chunk", leave=False, disable=not progress):
        part = parts / f"{start:06d}.npz"
        maps = _read_maps(part, settings | {"chunk": chunk}, True)
        if maps is None:
            maps = np.asarray(make(slice(start, min(start + chunk, count))), np.float32)
            _write_maps(part, maps, settings | {"chunk": chunk})
        chunks.append(maps)
    whole = np.concatenate(chunks)
    _write_maps(path, whole, settings)
    shutil.rmtree(parts, ignore_errors=True)
    return whole


def load_or_make_values(
    path: Path,
    settings: dict[str, Any],
    make: Callable[[], dict[str, np.ndarray]],
    *,
    overwrite: bool = False,
) -> dict[str, np.ndarray]:
    """Measured values of a JSON file; missing values are computed and stored.

    Args:
      path: contains `settings` and `values`: name to one number for each image, null for NaN.
      settings: JSON-ready.
      make: returns name to float [n].
      overwrite: whether a file with other settings is replaced.

    Returns:
      Name to float64 [n].

    Raises:
      InputError: the file has other settings, or cannot be read.
    """
    if path.exists():
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            before, values = stored["settings"], stored["values"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _damaged(path, error) from error
        if _same(path, before, settings, overwrite):
            return {name: np.asarray(row, np.float64) for name, row in values.items()}
    made = {name: np.asarray(row, np.float64) for name, row in make().items()}
    rows = {
        name: [None if np.isnan(value) else float(value) for value in row]
        for name, row in made.items()
    }
    text = json.dumps({"settings": settings, "values": rows}, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")
    return made


def _read_maps(path: Path, settings: dict[str, Any], overwrite: bool) -> np.ndarray | None:
    if not path.exists():
        return None
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            before, maps = json.loads(str(stored["settings"])), stored["maps"]
    except Exception as error:  # what zipfile and NumPy raise for a damaged file varies
        raise _damaged(path, error) from error
    return maps if _same(path, before, settings, overwrite) else None


def _write_maps(path: Path, maps: np.ndarray, settings: dict[str, Any]) -> None:
    with replacing(path) as temporary:
        np.savez(
            temporary,
            maps=maps,
            filenames=np.asarray(settings["filenames"], str),
            targets=np.asarray(settings["targets"], np.int64),
            settings=json.dumps(settings, ensure_ascii=False),
        )


def _same(path: Path, before: dict, now: dict, overwrite: bool) -> bool:
    now = json.loads(json.dumps(now))
    recorded = [key for key in now | before if key not in LATER or key in before]
    differing = [key for key in recorded if now.get(key) != before.get(key)]
    if differing and not overwrite:
        raise InputError(
            f"{path} has other settings: "
            f"{'; '.join(_difference(key, before, now) for key in differing[:SHOWN])}. Give the "
            "same settings, another --out, or --overwrite to replace the file."
        )
    return not differing


def _difference(key: str, before: dict, now: dict) -> str:
    there, here = before.get(key, "absent"), now.get(key, "absent")
    if isinstance(there, list) or isinstance(here, list):
        sizes = [f"{len(x)}" if isinstance(x, list) else str(x) for x in (there, here)]
        same = "different ones" if sizes[0] == sizes[1] else sizes[1]
        return f"{sizes[0]} {key} in the file, {same} requested"
    return f"{key} is {there!r} in the file, {here!r} requested"


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(f"{path}: cannot be read ({error}); remove it and run again.")
