import pytest
from test_hlo import TEXT

from cervix_jax.compile.chips import parse_topology
from cervix_jax.compile.estimate import facts, from_two, largest_batch, memory_facts
from cervix_jax.compile.printed import table

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
    for words in ("DOES NOT FIT", "estimated cycles", "1 all-reduce", "the program of evaluate",
                  "- a guess", "1 gather"):  # fmt: skip
        assert words in text, text
