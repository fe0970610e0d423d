from types import SimpleNamespace
from typing import Any

import pytest
from test_hlo import TEXT

from cervix_jax.compile import workflow
from cervix_jax.compile.chips import parse_topology
from cervix_jax.compile.estimate import facts, from_two, largest_batch, memory_facts
from cervix_jax.compile.printed import table
from cervix_jax.compile.programs import Program

PLACE = parse_topology("v5e:2x4")


def test_memory_counts_what_takes_the_place_of_arguments_once():
    found = memory_facts(100, 90, 50, 80, 3, PLACE)
    assert (found["total"], found["fits"]) == (163, True)
    assert not memory_facts(2**34, 0, 0, 0, 0, PLACE)["fits"]


def test_the_largest_batch():
    memory = memory_facts(1000, 0, 600, 0, 0, PLACE) | {"available": 2500}
    # 8 images take 100 bytes of the arguments and all 600 of the rest.
    assert largest_batch(memory, 8, 100) == int((2500 - 900) / 700 * 8)
    assert largest_batch({"total": None, "fits": False}, 8, 100) is None
    assert from_two({8: {"total": 1600}, 4: {"total": 1400}}, 2500) == 26


@pytest.mark.parametrize(
    ("compiled", "unit", "most", "images", "how", "tried"),
    [
        (16, 1, 40, 40, "compiled and fits", [8, 40]),
        (16, 1, 16, 16, "compiled and fits", [8]),
        (1, 1, 40, 40, "compiled and fits", [2, 40]),  # nothing is smaller than one image
        (4, 4, 43, 40, "compiled and fits", [8, 40]),
        (1, 1, 1, 1, "the largest that fits of the compiled batches", [2]),
        (16, 4, 9, 8, "compiled and fits", [8, 4]),
    ],
)
def test_the_largest_batch_is_compiled(monkeypatch, compiled, unit, most, images, how, tried):
    """A chip holds `most` images; memory is 100 bytes for each and what is left over besides."""
    room, asked = PLACE.chip.hbm, []

    def memory(count: int):
        return {"total": room - 100 * (most - count), "fits": count <= most}

    def fitting(subject, count, *_):
        asked.append(count)
        return {count: memory(count)} if count <= most else {}

    monkeypatch.setattr(workflow, "_fitting", fitting)
    subject: Any = SimpleNamespace(unit=unit)
    program = Program(lowered=None, images=8 * compiled, chips=8, batch_bytes=0)  # pyright: ignore[reportArgumentType]
    found = {"memory": memory(compiled)}
    said = workflow._largest(subject, program, found, PLACE, "verify", print)
    assert said == {"images": 8 * images, "how": how}
    assert asked == tried


def test_times_follow_from_cycles_and_messages():
    found = facts(TEXT, PLACE, images_a_chip=4, flops=1e6, accessed=2e6)
    seconds = found["seconds"]
    assert seconds["compute"] == pytest.approx(138 / PLACE.chip.clock)
    assert seconds["messages"] == pytest.approx(PLACE.all_reduce_seconds(1, 304))
    assert seconds["without_estimate"] == pytest.approx(2 * 12000 / PLACE.chip.hbm_bandwidth)
    assert found["images_per_second"] == pytest.approx(32 / seconds["total"])
    assert found["share_of_peak"] == pytest.approx(1e6 / seconds["total"] / PLACE.chip.flops)
    scaling = found["weak_scaling"]
    assert next(iter(scaling)) == "v5e:2x4"
    assert list(scaling)[-1] == "v5e:16x16"
    assert scaling["v5e:2x4"]["efficiency"] == 1 > scaling["v5e:16x16"]["efficiency"]


def test_the_table_says_what_fits_and_what_is_an_estimate():
    found = facts(TEXT, PLACE, images_a_chip=4, flops=1e6, accessed=2e6)
    found |= {"images": 32, "images_a_chip": 4, "chips": 8, "compile_seconds": 3.0}
    report = {
        "network": "rcan", "image_size": 64, "num_classes": 5, "topology": "v5e:2x4", "chips": 8,
        "chip": {"flops": 197e12, "hbm": 2**34}, "assumptions": ["a guess"],
        "programs": {
            "train": found | {"memory": memory_facts(1, 1, 2**35, 1, 0, PLACE)},
            "predict": {"images": 32, "images_a_chip": 4, "chips": 8, "same_as": "evaluate"},
        },
    }  # fmt: skip
    text = table(report)
    for words in ("DOES NOT FIT", "estimated cycles", "1 all-reduce", "- a guess", "1 gather",
                  "the same program as evaluate, compiled only once"):  # fmt: skip
        assert words in text, text
