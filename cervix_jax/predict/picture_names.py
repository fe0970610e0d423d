"""Names of pictures made from images: unique, and valid file names on any system."""

import hashlib
import os
import re

_LONGEST = 80


def picture_name(path: str, suffix: str) -> str:
    """A file name for a picture of the image `path`.

    It contains only ASCII letters, digits, `_`, `-` and `.`, and no folder. Images with the same
    name in different folders get different digits.

    Args:
      path: path as given.
      suffix: suffix with its dot.
    """
    stem = os.path.splitext(os.path.basename(path))[0]
    readable = re.sub(r"[^\w.-]", "_", stem, flags=re.ASCII)[:_LONGEST].strip(".")
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:12]
    return f"{readable or 'image'}-{digest}{suffix}"


def shown(path: str) -> str:
    """A path for a table: encodable text that a spreadsheet does not read as a formula.

    A path that would start a formula is prefixed with `./`, which names the same file.
    """
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return f"./{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
