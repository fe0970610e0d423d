import pytest

from cervix_jax.compile.chips import CHIPS, parse_topology, slices
from cervix_jax.errors import InputError


def test_slices_by_topology_and_by_type():
    assert parse_topology("v5e:2x4").shape == (2, 4)
    for kind, name in (
        ("v5litepod-8", "v5e:2x4"), ("v6e-8", "v6e:2x4"), ("v5p-16", "v5p:2x2x2"),
        ("v4-8", "v4:2x2x1"),
    ):  # fmt: skip
        assert parse_topology(kind).name == name
    for name in ("v5e:3x3", "v9:2x4", "v5litepod-9", ""):
        with pytest.raises(InputError, match=f"--topology={name}: no such slice.* v5e:2x4,"):
            parse_topology(name)


def test_every_chip_reaches_its_peak_by_its_clock():
    for chip in CHIPS.values():
        units = chip.flops / chip.clock
        assert units in (2**17, 2**18, 2**19)
        assert 0.9e9 < chip.clock < 2e9
        assert [each.chips for each in slices(chip)] == sorted(each.chips for each in slices(chip))


def test_a_sum_over_a_slice():
    v5e = CHIPS["v5e"]
    small, pod = parse_topology("v5e:2x4"), parse_topology("v5e:16x16")
    # A 2 x 4 mesh: lines of 1 and 3 hops, both axes at once in one direction.
    assert small.all_reduce_seconds(1, 0) == pytest.approx(8e-6)
    assert small.all_reduce_seconds(0, 1e9) == pytest.approx(2e9 * 7 / 8 / (2 * v5e.link))
    # A pod has rings of 16, at most 8 hops away, in both directions.
    assert pod.all_reduce_seconds(1, 0) == pytest.approx(32e-6)
    assert pod.all_reduce_seconds(0, 1e9) == pytest.approx(2e9 * 255 / 256 / (4 * v5e.link))
    assert parse_topology("v5e:1x1").all_reduce_seconds(9, 1e9) == 0
