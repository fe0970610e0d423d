"""Images listed in a table, with class and group."""

import os
from pathlib import Path, PurePosixPath, PureWindowsPath

from absl import logging

from cervix_jax.errors import InputError
from cervix_jax.files import tables
from cervix_jax.files.folders import is_leftover
from cervix_jax.files.images import is_image
from cervix_jax.files.listed import ListedFiles
from cervix_jax.files.paths import nfc, on_disk


def find_listed(
    root: Path, csv: str, *, has_pattern: bool, report: bool = True
) -> list[tuple[Path, str, str, str]]:
    """Find the images listed in a table.

    Args:
      root: folder to which the paths of the table are relative.
      csv: the table, below the folder.
      has_pattern: whether a pattern defines the groups, so that the table must not.
      report: whether to warn about images that the table does not list.

    Returns:
      Path of each image, its name below the folder, its class and its group, "" if unknown.

    Raises:
      InputError: the table or one of its lines cannot be used; the message names the line.
    """
    path = on_disk(_inside(root, csv, "image_folder setting csv"))
    if not os.path.isfile(path):
        raise InputError(f"{path}: there is no such file; give the setting csv its name.")
    found: list[tuple[Path, str, str, str]] = []
    lines: dict[str, str] = {}
    table = tables.Table(path, ("path", "label", "group"))
    table.require("path", "label")
    files = ListedFiles()
    for row in table:
        where, label, group = row.where, nfc(row["label"]), nfc(row.get("group"))
        listed = _inside(root, _below(root, row["path"]), where)
        image = files.find(listed)
        name = nfc(image.relative_to(root).as_posix())
        if not label:
            raise InputError(f"{where}: the label of {name} is empty; give its class.")
        if group and has_pattern:
            raise InputError(
                f"{where}: has a group, but the setting group_pattern is given too; remove one."
            )
        if name in lines:
            raise InputError(f"{where}: {name} is listed already ({lines[name]}); remove one.")
        if not os.path.isfile(image):  # False also for a name that is too long
            fits = files.several(listed)
            raise InputError(
                f"{where}: there is no file {image}, and several match it ({', '.join(fits[:5])}); "
                "write the full name."
                if fits
                else f"{where}: there is no file {image}; complete the folder."
            )
        lines[name] = f"line {row.line}"
        found.append((image, name, label, group))
    if not found:
        raise InputError(f"{path}: lists no images; give columns path, label and perhaps group.")
    tables.refuse_same_number([label for _, _, label, _ in found], path)
    if report and files.otherwise:
        asked, given = files.otherwise[0]
        tables.say_once(
            f"{path}: {len(files.otherwise)} names differ from the file names in case or lack the "
            f"suffix, e.g. {asked} for {given}; each matches one file, which is used."
        )
    if report:
        _report(root, path, {image for image, _, _, _ in found})
    return found


def _report(root: Path, csv: Path, listed: set[Path]) -> None:
    """Warn about images beside the listed ones."""
    others = []
    for folder, inner, names in os.walk(root):
        inner[:] = sorted(name for name in inner if not is_leftover(name))
        paths = (Path(folder, name) for name in sorted(names) if is_image(name))
        others += [path for path in paths if path not in listed and not is_leftover(path.name)]
    if others:
        logging.warning(
            "image_folder: %d images in %s are not listed in %s and are left out, e.g. %s.",
            len(others),
            root,
            csv.name,
            others[0].relative_to(root),
        )


def _below(root: Path, name: str) -> str:
    """Return an absolute path inside `root` as a relative one; other names unchanged."""
    path = Path(name)
    if not path.is_absolute() or "\0" in name:
        return name
    for folder, place in (
        (root.absolute(), path),
        (root.resolve(), path),
        (root.resolve(), path.parent.resolve() / path.name),
    ):
        if place.is_relative_to(folder):
            return place.relative_to(folder).as_posix()
    return name


def _inside(root: Path, name: str, where: str) -> Path:
    """Return the path `name` below `root`, with any path separator."""
    parts = PureWindowsPath(name)  # accepts / and \\
    clean = PurePosixPath(*parts.parts) if parts.parts and not parts.anchor else None
    if clean is None or ".." in clean.parts or "\0" in name:
        raise InputError(
            f"{where}: the path {name[:80]!r} must lie in {root}: no other folder and no '..'."
        )
    return root.joinpath(*clean.parts)
