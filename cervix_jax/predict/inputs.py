"""Lists the images that a command line names: files, folders, patterns, a list on standard input.

Listings are generators, so that a hundred thousand images cost no more memory than the names of
one folder and 16 bytes a path, by which an image that is named twice counts once.
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
    """Refuse what names nothing, before any work.

    Raises:
      InputError: there is no argument, no such file, or a pattern that nothing matches.
    """
    arguments = list(arguments)
    if not arguments:
        raise InputError(
            "no images are given; name files, folders, quoted patterns, or - for a list of paths "
            "on standard input."
        )
    if arguments.count(STDIN) > 1:
        raise InputError("- is given twice, and there is one standard input; give it once.")
    for argument in arguments:
        if argument == STDIN or os.path.lexists(argument):
            continue
        if not glob.has_magic(argument):
            raise InputError(f"{argument}: there is no such file or folder; check the path.")
        if next(glob.iglob(argument, recursive=True), None) is None:
            raise InputError(f"{argument}: no file matches this pattern; ** goes into folders.")


def list_images(
    arguments: Iterable[str],
    stdin: BufferedIOBase | None = None,
    separator: bytes = b"\n",
    unread: Unread | None = None,
    *,
    slides: bool = False,
) -> Iterator[str]:
    """The paths of the images in the order of the arguments, folders sorted, each path once.

    A file that is named itself is listed whatever its suffix; of folders and of what patterns
    match, images by their suffix, in folders at any depth. What operating systems leave in folders
    (hidden files, `__MACOSX`) is left out.

    Args:
      arguments: files, folders, patterns of `glob`, or "-".
      stdin: where "-" reads paths from.
      separator: what ends each path there.
      unread: counts the files of folders and patterns that are no images by their suffix.
      slides: list whole slides too, of which a folder of DICOM files is one.

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
                    # `**` gives the folders inside by itself.
                    yield from () if "**" in argument else _folder(path, unread, slides)
                elif is_image(path) or (slides and is_slide(path)):
                    yield path
                elif not is_leftover(os.path.basename(path)):
                    unread.add(path)


def _folder(
    folder: str, unread: Unread, slides: bool, above: frozenset[tuple[int, int]] = frozenset()
) -> Iterator[str]:
    """Images below a folder, with `slides` whole slides too, of which a folder with DICOM files is
    one; links to folders are followed unless they lead back.
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
    """The paths of a list as they arrive, empty ones left out."""
    rest = b""
    while chunk := stream.read1(_CHUNK):  # what is there: the list may be made while we work
        *whole, rest = (rest + chunk).split(separator)
        yield from _paths(whole)
    yield from _paths([rest])


def _paths(names: list[bytes]) -> Iterator[str]:
    for name in names:
        # A list that Windows wrote ends its lines with \r\n; no other path ends so.
        if name := name.removesuffix(b"\r"):
            yield os.fsdecode(name)
