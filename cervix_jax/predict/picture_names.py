"""Names of the pictures that are made of images: unique, and inside their folder on any system."""

import hashlib
import os
import re

_LONGEST = 80


def picture_name(path: str, suffix: str) -> str:
    """A file name for something made of the image `path`.

    It has no folder in it and nothing but ASCII letters, digits, `_`, `-` and `.`; of two images
    with the same name, the digits after it differ.

    Args:
      path: as it was given.
      suffix: with its dot.
    """
    stem = os.path.splitext(os.path.basename(path))[0]
    readable = re.sub(r"[^\w.-]", "_", stem, flags=re.ASCII)[:_LONGEST].strip(".")
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:12]
    return f"{readable or 'image'}-{digest}{suffix}"


def shown(path: str) -> str:
    """A path for a table: text that can be encoded, and no formula where a spreadsheet opens it.

    What would begin a formula gets `./` before it, which names the same file.
    """
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return f"./{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
