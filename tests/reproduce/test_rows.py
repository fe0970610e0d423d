"""The table of the paper, against its numbers and against what can be built."""

import csv

import pytest

from cervix_jax.data.splits import PROTOCOLS
from cervix_jax.errors import InputError
from cervix_jax.reproduce.rows import ROWS, find_row, row_config
from cervix_jax.training.check import check_config

PAPER = [row for row in ROWS if row.is_paper]


def table(shared, name):
    with (shared / "reference" / name).open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_row_of_the_paper_is_there(shared):
    given = table(shared, "paper_results.csv")
    assert [row.id for row in PAPER] == [line["id"] for line in given]
    for row, line in zip(PAPER, given, strict=True):
        assert row.tested == int(line["test_images"])
        # Its percentages are cut or rounded at the second digit.
        assert 100 * row.correct / row.tested == pytest.approx(
            float(line["top1_percent"]), abs=0.01
        )
        assert row.init == line["init"]
        config = row_config(row)
        assert config.data.dataset == line["dataset"].replace("herlev", "herlev/default")
        network = line["model"].partition(" ")[0].replace("residual_attention_92", "ran92")
        assert config.model.name == network
        assert config.split.protocol == "paper"


def test_f1_by_class_is_the_papers(shared):
    found = {(row.id, name): value for row in PAPER for name, value in row.f1.items()}
    given = {
        (line["id"], line["class"]): float(line["f1"])
        for line in table(shared, "paper_per_class.csv")
    }
    assert found == pytest.approx(given)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_every_row_has_a_config_that_trains(row):
    config = row_config(row)
    check_config(config)
    assert set(row.protocols) <= set(PROTOCOLS)
    assert config.split.refit == row.refit


@pytest.mark.parametrize("view", ["cell", "field"])
def test_rows_that_show_channel_attention_differ_in_nothing_else(view):
    def fields(network):
        config = row_config(find_row(f"cric_{view}_{network}")).to_dict()
        own = {name: config["model"].pop(name) for name in ("name", "attention")}
        return own, config

    without = fields("densenet121")
    for network in ("rcan", "rcan_blocks", "resnet50"):
        own, config = fields(network)
        assert own != without[0]
        assert config == without[1]


def test_an_unknown_row_is_named():
    with pytest.raises(InputError, match="--only=model9: no such row; choose from baseline1"):
        find_row("model9")
