"""Damaged copies of good files, for tests that feed them to readers."""

import contextlib
import resource
from collections.abc import Callable
from typing import Any

from bad_case import deadline
from hypothesis import strategies as st

from cervix_jax.errors import InputError

SECONDS = 10  # of computing for one file; a reader takes milliseconds
MAX_GROWTH = 1 << 30  # bytes; an image of the largest allowed size takes a third of it


@st.composite
def mutated(draw, originals: list[bytes]) -> bytes:
    """One of the originals with bytes changed, cut, repeated or put in, up to five times."""
    data = bytearray(draw(st.sampled_from(originals)))
    for _ in range(draw(st.integers(1, 5))):
        place = draw(st.integers(0, max(len(data) - 1, 0)))
        length = draw(st.integers(1, 16))
        how = draw(st.sampled_from(("flip", "cut", "remove", "zero", "full", "insert", "repeat")))
        if how == "flip" and data:
            data[place] ^= 1 << draw(st.integers(0, 7))
        elif how == "cut":
            del data[place:]
        elif how == "remove":
            del data[place : place + length]
        elif how in ("zero", "full"):
            data[place : place + length] = (b"\0" if how == "zero" else b"\xff") * length
        elif how == "insert":
            data[place:place] = draw(st.binary(max_size=16))
        else:
            data[place:place] = data[place : place + 64]
    return bytes(data)


def attempt(reader: Callable[[], Any]) -> tuple[Any, str]:
    """What a reader gives, or None and the line by which it refuses."""
    with bounded():
        try:
            return reader(), ""
        except InputError as error:
            return None, str(error)


@contextlib.contextmanager
def bounded():
    """A block that neither hangs nor takes much memory."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with deadline(SECONDS):
        yield
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < MAX_GROWTH, f"took {grown / 2**20:.0f} MiB"
