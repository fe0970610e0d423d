"""The benchmark of uncertainty under shift: what it counts, on predictions of known kind."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from cervix_jax.errors import InputError
from cervix_jax.evaluate.predictions_file import write_table
from cervix_jax.statistics.table import PredictionTable


@pytest.fixture(autouse=True)
def _path(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))


def drawn(prefix, seed, n=500, groups=50, sharpened=1.0, shifted=0.0):
    """Predictions that are calibrated, but for being sharpened; a share of the labels is wrong."""
    random = np.random.default_rng(seed)
    logits = 2 * random.normal(size=(n, 3))
    p = softmax(logits, axis=1)
    labels = (random.random((n, 1)) > p.cumsum(1)).sum(1)
    labels = np.where(random.random(n) < shifted, (labels + 1) % 3, labels)
    logits = sharpened * log_softmax(logits, axis=1)
    names = tuple(f"{prefix}{i:04d}.png" for i in range(n))
    group = np.asarray([f"{prefix}{i % groups:03d}" for i in range(n)])
    return PredictionTable(names, group, labels, softmax(logits, axis=1), tuple("abc"), logits)


def crossed(sharpened=1.0, shifted=0.0, seed=0):
    return {
        fold: (
            drawn(f"v{fold}_", 100 * seed + 2 * fold, sharpened=sharpened),
            drawn(f"t{fold}_", 100 * seed + 2 * fold + 1, sharpened=sharpened, shifted=shifted),
        )
        for fold in range(3)
    }


def test_exchangeable_images_are_covered_and_shifted_ones_are_not():
    import uncertainty_under_shift as benchmark

    same = benchmark.measure({0: crossed()})
    row = same["conformal"]["lac"][0]
    assert row["coverage"]["interval"][0] < 0.9 < row["coverage"]["interval"][1]
    assert row["groups"]["looked_at"] == 150
    shifted = benchmark.measure({0: crossed(shifted=0.3)})["conformal"]["lac"][0]
    assert shifted["coverage"]["interval"][1] < 0.85
    assert shifted["groups"]["low"] > 2 * shifted["groups"]["low_by_chance"]
    alone = benchmark.measure({0: crossed()})["conformal"]["lac"][0]["groups"]
    assert alone["low"] == pytest.approx(alone["low_by_chance"], abs=0.1)


def test_a_temperature_mends_what_is_too_sure_everywhere_alike():
    import uncertainty_under_shift as benchmark

    found = benchmark.measure({0: crossed(sharpened=3.0)})["calibration"]
    assert np.mean(found["temperatures"]) == pytest.approx(3, abs=0.4)
    assert found["before"]["ece"]["estimate"] > 3 * found["before"]["ece_by_chance"]
    assert found["after"]["ece"]["estimate"] < 1.2 * found["after"]["ece_by_chance"]
    assert found["before"]["overconfidence"]["estimate"] > 0.05
    assert abs(found["after"]["overconfidence"]["estimate"]) < 0.03
    groups = found["after"]["groups"]
    assert groups["rms"] == pytest.approx(groups["rms_by_chance"], rel=0.2)


def test_counts_by_hand():
    import uncertainty_under_shift as benchmark

    # Two groups of five and one of one: 5 of 5 and 3 of 5 are covered.
    index = np.asarray([0] * 5 + [1] * 5 + [2])
    covered = np.asarray([1.0] * 5 + [1, 1, 1, 0, 0] + [0])
    found = benchmark._failing(covered, index, 0.9)
    assert (found["looked_at"], found["low"]) == (2, 0.5)
    # Below 0.8 are 0 to 3 of 5.
    chance = 1 - 5 * 0.9**4 * 0.1 - 0.9**5
    assert found["low_by_chance"] == pytest.approx(chance)
    gap = np.asarray([0.1] * 5 + [-0.3] * 5 + [9])
    found = benchmark._group_gap(gap, np.full(11, 0.25), index)
    assert found["rms"] == pytest.approx(np.sqrt((0.01 + 0.09) / 2))
    assert found["rms_by_chance"] == pytest.approx(np.sqrt(0.05))


def test_odd_groups_are_singled_out():
    import uncertainty_under_shift as benchmark

    pairs = crossed()
    val, test = pairs[1]
    odd = np.asarray([group in ("t1_003", "t1_004") for group in test.groups])
    logits = np.where(odd[:, None], test.logits - 20, test.logits)  # the same probabilities
    pairs[1] = (val, PredictionTable(
        test.filenames, test.groups, test.labels, test.probabilities, test.class_names, logits
    ))  # fmt: skip
    found = benchmark.odd_groups(pairs, 1, r"t1_00[34]$")
    assert (found["n_outliers"], found["n"]) == (20, 480)
    assert found["energy"]["estimate"] == 1 == found["energy"]["flagged"]
    assert found["energy"]["others"] < 0.2
    assert found["max_softmax"]["estimate"] < 0.8
    assert found["validation_odd"] == 0
    assert found["covered"]["others"] == pytest.approx(0.9, abs=0.05)
    for fold, pattern, message in (
        (7, "t", "no fold 7"),
        (1, "x", "matches none"),
        (1, "t", "all"),
    ):
        with pytest.raises(InputError, match=message):
            benchmark.odd_groups(pairs, fold, pattern)


def test_the_command_reads_folders_and_says_what_is_missing(tmp_path, capsys):
    import uncertainty_under_shift as benchmark

    for fold, pair in crossed().items():
        folder = tmp_path / "block" / "seed0" / f"fold{fold}" / "evaluate"
        folder.mkdir(parents=True)
        for split, table in zip(("val", "test"), pair, strict=True):
            write_table(folder / f"{split}_predictions.csv", table)
    out = tmp_path / "out.json"
    given = [f"--runs=block={tmp_path}/block", "--odd=block:0:t0_00", f"--out={out}"]
    benchmark.main(given)
    printed = capsys.readouterr().out
    assert "| block |" in printed
    assert "100 odd images" in printed
    assert json.loads(out.read_text())["splits"]["block"]["n"] == 1500
    with pytest.raises(InputError, match="give name:fold:pattern"):
        benchmark.main([given[0], "--odd=other:0:x"])
    (tmp_path / "block/seed0/fold1/evaluate/val_predictions.csv").unlink()
    with pytest.raises(InputError, match=r"--workdir=.*fold1 --split=val"):
        benchmark.main(given[:1])
