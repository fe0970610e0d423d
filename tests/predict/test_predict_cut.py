"""A table whose process died anywhere goes on to the same bytes."""

import json
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cervix_jax.errors import InputError
from cervix_jax.predict.output import Output, parts

BATCH = 4
# Of each name whether it can be read; the seventh has a line end in its name.
LISTED = [(f"{n}\n.png" if n == 7 else f"{n}.png", n % 5 != 2) for n in range(23)]


def begin(out, facts=(("run", "r"),), columns=("path", "p"), **options):
    return Output(out, columns, dict(facts), **options)


def fill(output, batches=None):
    """What a command does with the images; at most `batches` times."""
    readable = dict(LISTED)
    names = list(output.remaining(iter(readable)))
    for first in range(0, len(names), BATCH)[:batches]:
        some = names[first : first + BATCH]
        rows = [{"path": name, "p": 1 / 3} for name in some if readable[name]]
        output.add(some, rows, [(name, "why, so") for name in some if not readable[name]])


def whole(out):
    with begin(out) as output:
        fill(output)
        output.finish()
    return out.read_bytes(), out.with_name(f"{out.stem}_skipped.csv").read_bytes()


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
@given(data=st.data())
@settings(deadline=None, max_examples=60)
def test_cut_at_any_byte(ending, data):
    with tempfile.TemporaryDirectory() as folder:
        expected = whole(Path(folder) / f"whole.{ending}")
        out = Path(folder) / f"out.{ending}"
        with begin(out) as output:
            fill(output)
        # A dead process leaves a start of its log, and of its tables at least what that promises.
        part, skipped, log = parts(out)
        kept = data.draw(st.integers(0, log.stat().st_size), "log")
        os.truncate(log, kept)
        lines = log.read_bytes().split(b"\n")[:-1]
        if len(lines) < 2:
            with pytest.raises(InputError, match="begin again with --overwrite"):
                begin(out, resume=True)
            return
        for file, least in zip((part, skipped), json.loads(lines[-1])["lengths"], strict=True):
            os.truncate(file, data.draw(st.integers(least, file.stat().st_size), file.name))
        with begin(out, resume=True) as again:
            assert again.images == min(BATCH * (len(lines) - 2), len(LISTED))
            fill(again)
            again.finish()
        assert (out.read_bytes(), (Path(folder) / "out_skipped.csv").read_bytes()) == expected
        assert len(os.listdir(folder)) == 4
