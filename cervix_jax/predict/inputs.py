"""Lists the images named on a command line: files, folders, patterns, a list on standard input.

Listings are generators. Memory holds only the names of one folder and 16 bytes per path, which
detect repeated paths, so a hundred thousand images need little.
"""

import glob
import hashlib
import os
from collections.abc import Iterable, Iterator
from io import BufferedIOBase

from cervix_jax.errors import InputError
from cervix_jax.files.folders import Unread, is_leftover
from cervix_jax.files.images import is_image
from cervix_jax.slides import is_slide

STDIN = "-"
_CHUNK = 1 << 16
_DICOM = ".dcm"


def check_arguments(arguments: Iterable[str]) -> None:
    """Refuse arguments that name no file, before any work.

    Raises:
      InputError: there is no argument, no such file, or a pattern without a match.
    """
    arguments = list(arguments)
    if not arguments:
        raise InputError(
            "no images are given; name files, folders, quoted patterns, or - for a list of paths "
            "on standard input."
        )
    if arguments.count(STDIN) > 1:
        raise InputError("- is given twice, but there is only one standard input; give it once.")
    for argument in arguments:
        if argument == STDIN or os.path.lexists(argument):
            continue
        if not glob.has_magic(argument):
            raise InputError(f"{argument}: there is no such file or folder; check the path.")
        if next(glob.iglob(argument, recursive=True), None) is None:
            raise InputError(f"{argument}: no file matches this pattern; ** matches subfolders.")


def list_images(
    arguments: Iterable[str],
    stdin: BufferedIOBase | None = None,
    separator: bytes = b"\n",
    unread: Unread | None = None,
    *,
    slides: bool = False,
) -> Iterator[str]:
    """The paths of the images in the order of the arguments, folders sorted, each path once.

    A file given by name is listed whatever its suffix. Folders, at any depth, and patterns list
    only files with the suffix of an image. Files that operating systems leave in folders (hidden
    files, `__MACOSX`) are skipped.

    Args:
      arguments: files, folders, patterns of `glob`, or "-".
      stdin: stream that "-" reads paths from.
      separator: byte that ends each path in this stream.
      unread: counter of files in folders and patterns without the suffix of an image.
      slides: also list whole-slide images; a folder of DICOM files is one slide.

    Raises:
      InputError: a folder cannot be listed.
    """
    seen: set[bytes] = set()
    unread = Unread() if unread is None else unread
    for path in _every(arguments, stdin, separator, unread, slides):
        digest = hashlib.blake2b(os.fsencode(path), digest_size=16).digest()
        if digest not in seen:
            seen.add(digest)
            yield path


def _every(
    arguments: Iterable[str],
    stdin: BufferedIOBase | None,
    separator: bytes,
    unread: Unread,
    slides: bool,
) -> Iterator[str]:
    for argument in arguments:
        if argument == STDIN:
            if stdin is not None:
                yield from _split(stdin, separator)
        elif os.path.isdir(argument):
            yield from _folder(argument, unread, slides)
        elif os.path.lexists(argument) or not glob.has_magic(argument):
            yield argument
        else:
            for path in sorted(glob.iglob(argument, recursive=True)):
                if os.path.isdir(path):
                    # `**` already lists the folders inside.
                    yield from () if "**" in argument else _folder(path, unread, slides)
                elif is_image(path) or (slides and is_slide(path)):
                    yield path
                elif not is_leftover(os.path.basename(path)):
                    unread.add(path)


def _folder(
    folder: str, unread: Unread, slides: bool, above: frozenset[tuple[int, int]] = frozenset()
) -> Iterator[str]:
    """Images below a folder; with `slides` also whole-slide images, including folders with DICOM
    files. Links to folders are followed unless they form a loop.
    """
    try:
        status = os.stat(folder)
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be listed ({error.strerror}); check its permissions."
        ) from error
    here = (status.st_dev, status.st_ino)
    if here in above:
        return
    dicom = slides and any(name.lower().endswith(_DICOM) for name in names)
    if dicom:
        yield folder
    for name in names:
        if is_leftover(name) or (dicom and name.lower().endswith(_DICOM)):
            continue
        path = os.path.join(folder, name)
        if os.path.isdir(path):
            yield from _folder(path, unread, slides, above | {here})
        elif is_image(path) or (slides and is_slide(path)):
            yield path
        else:
            unread.add(path)


def _split(stream: BufferedIOBase, separator: bytes) -> Iterator[str]:
    """The paths of a list as they arrive, without empty ones."""
    rest = b""
    while chunk := stream.read1(_CHUNK):  # returns early, as the list may still be growing
        *whole, rest = (rest + chunk).split(separator)
        yield from _paths(whole)
    yield from _paths([rest])


def _paths(names: list[bytes]) -> Iterator[str]:
    for name in names:
        # Lists written by Windows end lines with \r\n; no other path ends in \r.
        if name := name.removesuffix(b"\r"):
            yield os.fsdecode(name)
