"""Shards: whatever is stopped, in whatever order they end, the table is that of one process."""

import os
import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from predicted_rows import read_rows
from selection import tries

from cervix_jax.errors import InputError
from cervix_jax.files.lock import held
from cervix_jax.predict.finish import Predicted, finish_output, merge_shards
from cervix_jax.predict.output import Output
from cervix_jax.predict.parts import REASON, ROWS, Unit
from cervix_jax.predict.shard import WHOLE, Shard, parse_shard

BATCH = 3
# Fields of rows of tiles, and images; some are left out, and some have no row or many.
UNITS = [Unit(f"{n}.svs", f"row {row + 1} of 4") for n in range(3) for row in range(4)]
UNITS += [Unit(f"é{n}\n.png") for n in range(7)]
COLUMNS = ("path", "p", "group")
FACTS = {"run": "r", "class_names": ["a"], "--group": ""}


def entry(number: int, unit: Unit):
    found = {"path": unit.path} | ({"part": unit.part} if unit.part else {})
    if number % 5 == 2:
        return found | {REASON: "why, so"}
    if unit.part:
        rows = [{"path": unit.path, "p": (number + k) / 7} for k in range(number % 3)]
        return found | {ROWS: rows}
    return found | {"p": number / 7}


OTHER = Unit("other.png")
ENTRIES = {unit: entry(number, unit) for number, unit in enumerate([*UNITS, OTHER])}


def begin(out, shard=WHOLE, facts=(), columns=COLUMNS, **options):
    at_end = {"--aggregate": options.pop("aggregate", "mean")}
    return Output(out, columns, FACTS | dict(facts), at_end=at_end, shard=shard, **options)


def fill(output, batches=None, units=tuple(UNITS)):
    """What a command does with the units; at most `batches` times."""
    left = list(output.remaining(iter(units)))
    for first in range(0, len(left), BATCH)[:batches]:
        output.add([ENTRIES[unit] for unit in left[first : first + BATCH]])


def run(out, shard=WHOLE, units=tuple(UNITS), **options):
    """A command from its start to its end."""
    with begin(out, shard, **options) as output:
        fill(output, units=units)
        output.end()
    return finish_output(output)


def written(out):
    return out.read_bytes(), out.with_name(f"{out.stem}_skipped.csv").read_bytes()


def shards(count):
    return [Shard(number, count) for number in range(1, count + 1)]


@pytest.fixture
def expected(tmp_path):
    (tmp_path / "whole").mkdir()
    run(tmp_path / "whole/p.csv")
    return written(tmp_path / "whole/p.csv")


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
@given(data=st.data())
@settings(max_examples=tries(24), deadline=None)
def test_any_number_in_any_order_cut_anywhere(ending, data):
    with tempfile.TemporaryDirectory() as folder:
        whole, out = Path(folder) / f"whole.{ending}", Path(folder) / f"out.{ending}"
        alone = run(whole)
        assert (alone.images, alone.rows, alone.skipped_path is not None) == (19, 14, True)
        count = data.draw(st.sampled_from([2, 3, 5, 21]), "shards")
        order = data.draw(st.permutations(shards(count)), "order")
        for shard in order:
            with begin(out, shard) as output:
                fill(output, data.draw(st.integers(0, 3), "batches"))
                if len(list(output.remaining(iter(UNITS)))) == 0:
                    output.end()
            if (part := output.part).exists():
                head = part.read_bytes().index(b"\n") + 1
                os.truncate(part, data.draw(st.integers(head, part.stat().st_size), "kept"))
        assert not out.exists()
        found = []
        for shard in order:
            if not out.exists():  # else the others were whole
                found.append(run(out, shard, resume=True))
        assert [bool(each.waiting) for each in found] == [True] * (len(found) - 1) + [False]
        assert written(out) == written(whole)
        assert (found[-1].images, found[-1].rows) == (19, 14)
        assert len(os.listdir(folder)) == 4  # no part is left


def test_what_the_rows_and_the_reasons_say(expected, tmp_path):
    rows = read_rows(tmp_path / "whole/p.csv")
    assert [row["path"] for row in rows[:3]] == ["0.svs", "1.svs", "1.svs"]
    assert rows[0]["p"] == "0.142857"
    left = read_rows(tmp_path / "whole/p_skipped.csv")
    assert left[0] == {"path": "0.svs", "reason": "row 3 of 4: why, so"}
    assert left[-1] == {"path": "é5\n.png", "reason": "why, so"}


def test_a_part_that_is_whole_stays_as_it_is(tmp_path, expected):
    out = tmp_path / "p.csv"
    first = run(out, Shard(1, 2))
    assert first == Predicted(
        out, 10, 7, 2, shard=Shard(1, 2), waiting="shard 2 of 2 is missing"
    )  # fmt: skip
    part = tmp_path / "p.csv.shard-1-of-2.part"
    before = part.read_bytes()
    assert run(out, Shard(1, 2), resume=True) == first
    with begin(out, Shard(1, 2), resume=True) as output:
        assert output.whole
        for strange in (UNITS[:-1], [*UNITS, Unit("x")], [*UNITS[:-1], Unit("x")], UNITS[::-1]):
            with pytest.raises(InputError, match="differ from those of the stopped command"):
                list(output.remaining(iter(strange)))
    with pytest.raises(InputError, match="continue with --resume"):
        begin(out, Shard(1, 2))
    assert part.read_bytes() == before
    assert run(out, Shard(2, 2)).waiting == ""
    assert written(out) == expected


@pytest.mark.parametrize("count", [2, 16])
def test_by_hand_and_what_is_missing(tmp_path, expected, count):
    out = tmp_path / "p.csv"
    with pytest.raises(InputError, match="there are no parts of shards beside it"):
        merge_shards(out)
    for shard in shards(count)[1:]:
        run(out, shard)
    with begin(out, Shard(1, count)) as output:
        with pytest.raises(InputError, match=f"shard 1 of {count} is unfinished; start each"):
            merge_shards(out)
        fill(output)
        with pytest.raises(InputError, match=f"shard 1 of {count} is unfinished"):
            merge_shards(out)
        output.end()
    for missing, said in ((1, "shard 1 of"), (2, "shards 1 and 2 of")):
        kept = [Shard(number, count).part_of(out) for number in range(1, missing + 1)]
        for part in kept:
            part.rename(f"{part}.away")
        with pytest.raises(InputError, match="no parts" if missing == count else said):
            merge_shards(out)
        for part in kept:
            Path(f"{part}.away").rename(part)
    assert not out.exists()
    found = merge_shards(out)
    assert (found.images, found.rows) == (19, 14)
    assert written(out) == expected
    assert sorted(os.listdir(tmp_path)) == ["p.csv", "p_skipped.csv", "whole"]


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"facts": {"weights": "0"}}, "other weights"),
        ({"facts": {"run": "s"}}, "run=s"),
        ({"aggregate": "max"}, "--aggregate=max"),
        ({"columns": ("path", "p")}, "the columns path, p"),
        ({"units": (*UNITS, OTHER)}, "other images (20 in all)"),
        ({"units": (*UNITS[1:], UNITS[0])}, "other images (19 in all)"),
    ],
)
def test_shards_of_other_commands_make_no_table(tmp_path, other, said):
    out = tmp_path / "p.csv"
    run(out, Shard(1, 2))
    if "units" not in other:  # which are known at the end only
        with pytest.raises(InputError, match=r"shard-1-of-2.part: was started with"):
            begin(out, Shard(2, 2), **other)
        assert not Shard(2, 2).part_of(out).exists()
        # The other shard may be begun again, too.
        found = run(out, Shard(2, 2), overwrite=True, **other)
        assert f"shard-2-of-2.part: was made with {said}, unlike" in found.waiting
    else:
        with pytest.raises(
            InputError, match=re.escape(f"shard-2-of-2.part: was made with {said}, unlike")
        ):
            run(out, Shard(2, 2), **other)
    with pytest.raises(InputError, match=re.escape(said)):
        merge_shards(out)
    assert not out.exists()
    assert run(out, Shard(2, 2), overwrite=True).waiting == ""


def test_a_damaged_part_is_said(tmp_path):
    out, shard = tmp_path / "p.csv", Shard(1, 2)
    run(out, shard)
    part = shard.part_of(out)
    good = part.read_bytes()
    for bad in (good.replace(b"0.571429", b"0.571428"), good.replace(b"[", b"{"), good + b"[]\n"):
        assert bad != good
        part.write_bytes(bad)
        with pytest.raises(InputError, match=r"cannot be resumed \(.*--overwrite"):
            run(out, shard, resume=True)
        if bad.endswith(b"[]\n"):
            assert run(out, Shard(2, 2), overwrite=True).waiting == "shard 1 of 2 is unfinished"
        else:
            with pytest.raises(InputError, match=r"cannot be read \(.*--overwrite"):
                run(out, Shard(2, 2), overwrite=True)
    assert not out.exists()


def test_parts_that_do_not_go_together_are_refused_at_once(tmp_path):
    out = tmp_path / "p.csv"
    run(out, Shard(3, 16))
    for shard in (WHOLE, Shard(1, 4)):
        for options in ({}, {"resume": True}, {"overwrite": True}):
            with pytest.raises(InputError, match=r"p.csv.shard-03-of-16.part: is one of 16 shards"):
                begin(out, shard, **options)
    (tmp_path / "p.csv.shard-1-of-4.part").write_text("")
    with pytest.raises(InputError, match="command with 4 shards and of one with 16 shards"):
        merge_shards(out)
    alone = tmp_path / "alone.csv"
    with begin(alone) as output:
        fill(output, 1)
    with pytest.raises(InputError, match="a command without shards was stopped"):
        begin(alone, Shard(1, 2))
    run(alone, resume=True)
    with pytest.raises(InputError, match="--overwrite replaces it"):
        begin(alone, Shard(1, 2))


def test_one_process_makes_the_table(tmp_path, expected):
    out = tmp_path / "p.csv"
    run(out, Shard(1, 2))
    with held(out, "--out"):
        found = run(out, Shard(2, 2))
        assert found.waiting == "another process is writing the table"
        with pytest.raises(InputError, match="in use by process"):
            merge_shards(out)
    merge_shards(out)
    assert written(out) == expected


@pytest.mark.parametrize("step", range(6))
def test_a_stop_while_the_parts_become_the_table_loses_nothing(
    tmp_path, monkeypatch, expected, step
):
    out, left = tmp_path / "p.csv", iter(range(step))
    run(out, Shard(1, 2))

    def until_stopped(change):
        def changed(*args, **options):
            if not str(args[0]).endswith(".lock") and next(left, None) is None:
                raise KeyboardInterrupt
            return change(*args, **options)

        return changed

    with begin(out, Shard(2, 2)) as output:
        fill(output)
        output.end()
    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", until_stopped(os.replace))
        patched.setattr(Path, "unlink", until_stopped(Path.unlink))
        with pytest.raises(KeyboardInterrupt):
            finish_output(output)
    assert out.exists() == (step > 2)
    if step == 5:
        with pytest.raises(InputError, match="exists already, and shard 1 of 2 is missing; if"):
            merge_shards(out)
    else:
        assert run(out, Shard(1, 2), resume=True).waiting == ""
    assert written(out) == expected


def test_all_left_out_is_said_once_all_are_done(tmp_path):
    out, units = tmp_path / "p.csv", (UNITS[2], UNITS[7])
    assert run(out, Shard(1, 2), units=units).waiting
    with pytest.raises(InputError, match=r"none of 2 images could be predicted; .*p_skipped.csv"):
        run(out, Shard(2, 2), units=units)
    assert os.listdir(tmp_path) == ["p_skipped.csv"]


@pytest.mark.parametrize(
    "text", ["0/0", "0/4", "5/4", "-1/4", "1.5/4", "a/b", "", "3", "1/", "/4", "1/4/4", " 1/4",
             "1/4\n", "٣/١٦", "1/99999999999", None],
)  # fmt: skip
def test_no_shard(text):
    with pytest.raises(InputError, match=r"counted from 1, e.g. 3/16"):
        parse_shard(text)


def test_a_shard_and_its_part():
    assert parse_shard("3/16") == Shard(3, 16)
    assert parse_shard("1/1") == WHOLE
    assert Shard(3, 16).part_of(Path("a/p.csv")) == Path("a/p.csv.shard-03-of-16.part")
    assert WHOLE.part_of(Path("a/p.csv")) == Path("a/p.csv.part")
    for total in range(9):
        assert sum(shard.size(total) for shard in shards(4)) == total


def test_whole_batches_are_dealt():
    """So every unit has the place in its batch that it has in one process."""
    assert [index for index in range(10) if Shard(2, 3).takes(index, 2)] == [2, 3, 8, 9]
    for together in (1, 2, 3, 7):
        for total in range(20):
            taken = [
                [index for index in range(total) if shard.takes(index, together)]
                for shard in shards(4)
            ]
            assert sorted(index for each in taken for index in each) == list(range(total))
            sizes = [shard.size(total, together) for shard in shards(4)]
            assert sizes == [len(indices) for indices in taken]
            for indices in taken:
                places = [index % together for index in indices]
                assert places == [number % together for number in range(len(indices))]
