"""The cause of an unreadable checkpoint: damaged files, storage, memory, or something else."""

import contextlib
import json
import os
import re
import traceback
from collections.abc import Iterator
from pathlib import Path

from cervix_jax.errors import InputError
from cervix_jax.files.alias import plain_path
from cervix_jax.files.storage import storage_problem

# JSON files that Orbax requires to read a checkpoint of this package.
NEEDED = ("_CHECKPOINT_METADATA", "state/_METADATA")
_OUT_OF_MEMORY = ("RESOURCE_EXHAUSTED", "out of memory", "Unable to allocate")
# Orbax's messages for intact arrays of another model or optimiser.
_MISFIT = re.compile(r"Requested shape|tree structures? |structures do not match", re.IGNORECASE)
_LONGEST = 160
_MISREAD = (LookupError, AttributeError, TypeError, ValueError)
_ORBAX = f"{os.sep}orbax{os.sep}"


class DamagedCheckpointError(InputError):
    """A checkpoint's files differ from those that were saved; the message begins with the file."""


@contextlib.contextmanager
def reading(checkpoint: Path) -> Iterator[None]:
    """A block in which each cause of a failed read of a checkpoint raises its own one-line error.

    Args:
      checkpoint: `<workdir>/checkpoints/<step>`.

    Raises:
      DamagedCheckpointError: a file is absent, truncated or holds values other than those saved.
      InputError: the storage fails, or the memory is too small; the message says which.
      Exception: the failure itself if it is none of these, such as one of JAX's settings.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        text = "\n".join(map(str, _chain(error)))
        if any(isinstance(e, MemoryError) for e in _chain(error)) or any(
            sign in text for sign in _OUT_OF_MEMORY
        ):
            raise InputError(
                f"{checkpoint}: there is not enough memory to read it ({brief(error)}); close "
                "other programs, or use a machine with more."
            ) from error
        if problem := storage_problem(error):
            named = getattr(error, "filename", None) or _file_in(text, checkpoint) or checkpoint
            raise InputError(
                f"{named}: cannot be read ({problem}); make it readable and repeat the command."
            ) from error
        if _MISFIT.search(text):
            raise InputError(
                f"{checkpoint}: does not match the model and optimiser of this config "
                f"({brief(error)}); give the config of its run, or another --workdir."
            ) from error
        if damage := find_damage(checkpoint, error):
            raise DamagedCheckpointError(damage) from error
        raise


def find_damage(checkpoint: Path, error: Exception) -> str | None:
    """Return the damaged file and its damage, or None if no file is known to be damaged.

    Args:
      checkpoint: `<workdir>/checkpoints/<step>`.
      error: the error raised during reading.
    """
    for path in [checkpoint / name for name in NEEDED] + sorted(
        path
        for pattern in ("*/metadata", "metrics/metrics", "state/_sharding", "state/array_meta*/*")
        for path in checkpoint.glob(pattern)
    ):
        if problem := _json_problem(path):
            return f"{path}: {problem}"
    for path in (
        checkpoint / "state" / "manifest.ocdbt",
        *checkpoint.glob("state/*/manifest.ocdbt"),
    ):
        if not path.is_file() or not path.stat().st_size:
            return f"{path}: is missing or empty"
    if isinstance(error, FileNotFoundError):
        return f"{error.filename or checkpoint}: is missing"
    for cause in _chain(error):
        if named := _file_in(str(cause), checkpoint):  # TensorStore names a file it cannot decode
            return f"{named}: is damaged or incomplete ({brief(cause, _LONGEST)})"
    # For files that are still JSON, Orbax misses keys; for errors of JAX, its own frame is last.
    frames = traceback.extract_tb(error.__traceback__)
    misread = isinstance(error, _MISREAD) and frames and _ORBAX in frames[-1].filename
    if misread or isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
        return f"{checkpoint / 'state'}: is damaged ({type(error).__name__}: {brief(error)})"
    return None


def _chain(error: BaseException) -> list[BaseException]:
    """Return an error and the errors that caused it."""
    found: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in found:
        found.append(following)
        following = following.__cause__ or following.__context__
    return found


def _json_problem(path: Path) -> str:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    except (ValueError, RecursionError) as error:
        return f"is damaged ({brief(error, _LONGEST)})"
    return ""


def _file_in(text: str, checkpoint: Path) -> str:
    """Return the longest path below the checkpoint in a message of TensorStore; "" if none."""
    real, plain = str(checkpoint), str(plain_path(checkpoint.parent) / checkpoint.name)
    found = re.findall(f'"({re.escape(plain)}[^"\\\\]*)', text)
    return max((real + path.removeprefix(plain) for path in found), key=len, default="")


def brief(error: BaseException, length: int = 200) -> str:
    """Return the start of an error message in one line; Orbax and TensorStore print a page."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= length else f"{text[:length]}..."
