"""The table while it is written: what was stopped anywhere goes on to the same bytes."""

import contextlib
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from predicted_rows import read_rows
from selection import tries

from cervix_jax.errors import InputError
from cervix_jax.predict.output import Output
from cervix_jax.predict.parts import REASON, Unit
from cervix_jax.predict.shard import WHOLE

BATCH = 4
# Of each name whether it can be read; the seventh has a line end in its name.
LISTED = [(f"{n}\n.png" if n == 7 else f"{n}.png", n % 5 != 2) for n in range(23)]


def begin(out, facts=(("run", "r"),), columns=("path", "p"), **options):
    return Output(out, columns, dict(facts), **options)


def fill(output, batches=None):
    """What a command does with the images; at most `batches` times."""
    readable = dict(LISTED)
    names = [unit.path for unit in output.remaining(map(Unit, readable))]
    for first in range(0, len(names), BATCH)[:batches]:
        some = names[first : first + BATCH]
        output.add(
            [
                {"path": name, "p": 1 / 3} if readable[name] else {"path": name, REASON: "why, so"}
                for name in some
            ]
        )


def finish(output):
    output.end()
    output.table().write()


def whole(out):
    with begin(out) as output:
        fill(output)
        finish(output)
    return out.read_bytes(), out.with_name(f"{out.stem}_skipped.csv").read_bytes()


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
@given(data=st.data())
@settings(max_examples=tries(60))
def test_cut_at_any_byte(ending, data):
    with tempfile.TemporaryDirectory() as folder:
        expected = whole(Path(folder) / f"whole.{ending}")
        out = Path(folder) / f"out.{ending}"
        with begin(out) as output:
            fill(output)
        part = WHOLE.part_of(out)
        os.truncate(part, data.draw(st.integers(0, part.stat().st_size), "kept"))
        lines = part.read_bytes().count(b"\n")
        if not lines:
            with pytest.raises(InputError, match="start again with --overwrite"):
                begin(out, resume=True)
            return
        with begin(out, resume=True) as again:
            assert again.units == min(BATCH * (lines - 1), len(LISTED))
            fill(again)
            finish(again)
        assert (out.read_bytes(), (Path(folder) / "out_skipped.csv").read_bytes()) == expected
        assert len(os.listdir(folder)) == 4


def test_each_of_many_stops_is_gone_on_from(tmp_path):
    expected = whole(tmp_path / "whole.csv")
    out = tmp_path / "p.csv"
    for number in range(6):
        with begin(out, resume=True) as output:
            assert output.units == BATCH * number
            fill(output, 1)
    with begin(out, resume=True) as output:
        assert output.skipped == len(read_rows(tmp_path / "whole_skipped.csv"))
        fill(output)
        finish(output)
    assert (out.read_bytes(), (tmp_path / "p_skipped.csv").read_bytes()) == expected


@pytest.mark.parametrize("step", range(6))
def test_a_stop_while_the_table_gets_its_name_loses_nothing(tmp_path, monkeypatch, step):
    expected, left = whole(tmp_path / "whole.csv"), iter(range(step))
    out = tmp_path / "p.csv"

    def until_stopped(change):
        def changed(*args, **options):
            if next(left, None) is None:
                raise KeyboardInterrupt
            return change(*args, **options)

        return changed

    with begin(out) as output:
        fill(output)
        with monkeypatch.context() as patched:
            patched.setattr(os, "replace", until_stopped(os.replace))
            patched.setattr(Path, "unlink", until_stopped(Path.unlink))
            with contextlib.suppress(KeyboardInterrupt):
                finish(output)
    assert out.exists() == (step > 2)
    if WHOLE.part_of(out).exists():
        with begin(out, resume=True) as output:
            assert list(output.remaining(map(Unit, dict(LISTED)))) == []
            finish(output)
    assert (out.read_bytes(), (tmp_path / "p_skipped.csv").read_bytes()) == expected
    assert not WHOLE.part_of(out).exists()


def test_only_the_same_command_goes_on(tmp_path):
    out = tmp_path / "p.csv"
    with begin(out) as output:
        fill(output, 3)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(InputError, match="continue with --resume"):
        begin(out)
    with pytest.raises(InputError, match="started with run=r"):
        begin(out, {"run": "s"}, resume=True)
    with pytest.raises(InputError, match="started with other weights"):
        begin(out, {"run": "r", "weights": "0"}, resume=True)
    with pytest.raises(InputError, match="started with the columns path, p"):
        begin(out, columns=("path",), resume=True)
    names = [name for name, _ in LISTED]
    for other in (["x.png", *names[1:]], [*names[1::-1], *names[2:]], names[:11], []):
        with (
            begin(out, resume=True) as output,
            pytest.raises(InputError, match="differ from those of"),
        ):
            list(output.remaining(map(Unit, other)))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    WHOLE.part_of(out).write_bytes(WHOLE.part_of(out).read_bytes().replace(b"[", b"{"))
    with pytest.raises(InputError, match="start again with --overwrite"):
        begin(out, resume=True)


def test_nothing_is_overwritten_by_accident(tmp_path):
    out = tmp_path / "p.csv"
    expected = whole(out)
    for options in ({}, {"resume": True}):
        with pytest.raises(InputError, match="--overwrite replaces it"):
            begin(out, **options)
    with begin(out, overwrite=True) as output:
        fill(output, 2)
    assert out.read_bytes() == expected[0]  # until the new one is finished
    with begin(out, overwrite=True) as output:
        assert list(output.remaining(iter([Unit("a.png")]))) == [Unit("a.png")]
        output.add([{"path": "a.png", "p": 1.0}])
        finish(output)
    assert read_rows(out) == [{"path": "a.png", "p": "1"}]
    assert os.listdir(tmp_path) == ["p.csv"]
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        begin(tmp_path / "folder.csv", overwrite=True)


def test_a_command_that_did_nothing_leaves_nothing(tmp_path):
    with begin(tmp_path / "p.csv"):
        pass
    assert os.listdir(tmp_path) == []
