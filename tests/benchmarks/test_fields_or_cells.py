"""The benchmark that compares whole fields with their cells: rules, and what they may see."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, cohen_kappa_score

from cervix_jax.data.classes import CRIC
from cervix_jax.errors import InputError
from cervix_jax.evaluate.predictions_file import write_table
from cervix_jax.statistics.table import PredictionTable

NAMES = CRIC.names


@pytest.fixture(autouse=True)
def _path(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))


def cells_of(fields, seed=0, noise=0.3):
    """A table of cells; of each field its name and the class of each cell."""
    random = np.random.default_rng(seed)
    labels = np.concatenate([np.asarray(own) for own in fields.values()])
    groups = np.repeat(list(fields), [len(own) for own in fields.values()])
    p = noise * random.random((len(labels), 6)) + np.eye(6)[labels]
    names = tuple(f"{g}/{n}.png" for n, g in enumerate(groups))
    return PredictionTable(names, groups, labels, p / p.sum(1, keepdims=True), NAMES)


def crossed_tables(seed=0, noise=0.3, whole=False):
    """Predictions of three folds of 20 fields, of their cells or of themselves."""
    random = np.random.default_rng(7)
    tables = {}
    for fold in range(3):
        fields = {}
        for number in range(20):
            worst = (number + fold) % 6
            cells = [*random.integers(0, worst + 1, 4).tolist(), worst]
            fields[f"f{fold}_{number}"] = [worst] if whole else cells
        tables[fold] = cells_of(fields, seed + fold, noise)
    return tables


def test_fields_are_gathered_from_their_cells():
    import field_rules

    p = np.asarray([[0.7, 0.1, 0.1, 0.0, 0.1, 0.0], [0.2, 0.1, 0.0, 0.0, 0.0, 0.7]])
    order = NAMES[::-1]  # a table may have its columns in another order
    table = PredictionTable(
        ("a", "b"), np.asarray(["g", "g"]), np.asarray([5, 3]), p[:, ::-1], order
    )
    found = field_rules.gather({4: table})
    assert (found.names, found.labels.tolist(), found.folds.tolist()) == (("g",), [2], [4])
    assert found.worst.tolist() == [5]  # SCC is the most probable of the second cell
    at_least = np.asarray([[0.8, 0.7, 0.7, 0.7, 0.7], [0.3, 0.2, 0.1, 0.1, 1e-6], [0] * 5])
    np.testing.assert_allclose(found.reached[0], at_least, atol=2e-6)
    np.testing.assert_allclose(found.features[0, :1], np.log(0.8 / 0.2))
    np.testing.assert_allclose(found.features[0, 5], np.log([4, 3 / 7]).mean())
    with pytest.raises(InputError, match="in several folds"):
        field_rules.gather({0: table, 1: table})


def test_thresholds_reach_classes():
    import field_rules

    reached = np.asarray([[0.9, 0.6, 0.2, 0.2, 0.1], [0.1, 0.1, 0.1, 0.1, 0.1], [0.9] * 5])
    passed = field_rules._passed(reached, np.asarray([0.5, 0.5, 0.5, 0.5, 0.5]))
    assert passed.tolist() == [2, 0, 5]
    # A class that is reached counts though a milder one is not.
    own = np.asarray([0.95, 0.95, 0.95, 0.15, 0.5])
    assert field_rules._passed(reached, own).tolist() == [4, 0, 5]


@pytest.mark.parametrize("kind", ["", "threshold", "thresholds", "balanced logistic"])
def test_the_labels_of_a_fold_do_not_touch_its_decisions(kind):
    import field_rules
    import fields_or_cells as benchmark

    fields = field_rules.gather(crossed_tables(noise=1.0))
    inside = fields.folds == 1
    labels = np.where(inside, 5 - fields.labels, fields.labels)
    first, second = (
        benchmark.judge(f, kind) for f in (fields, dataclasses.replace(fields, labels=labels))
    )
    for name in first.tables:
        a, b = (each.tables[name].probabilities[inside] for each in (first, second))
        np.testing.assert_array_equal(a, b)
    assert first.rules[1] == second.rules[1]
    assert any(
        (a.probabilities[~inside] != b.probabilities[~inside]).any()
        for a, b in zip(first.tables.values(), second.tables.values(), strict=True)
    )


def test_a_planted_threshold_is_found():
    import field_rules

    fields = field_rules.gather(crossed_tables(noise=0.1))
    # Two cells count: each field gets a stray cell that is sure of carcinoma.
    strayed = np.concatenate([np.ones((60, 1, 5)), fields.reached[:, :2]], 1)
    rule = field_rules.one_threshold(dataclasses.replace(fields, reached=strayed))
    decided, _ = rule(dataclasses.replace(fields, reached=strayed))
    assert (decided == fields.labels).all()


def test_the_command_measures_what_it_says(tmp_path, capsys):
    import fields_or_cells as benchmark

    for name, whole, noise in (("cells", False, 0.5), ("fields", True, 1.5)):
        for seed in (0, 1):
            for fold, table in crossed_tables(10 * seed, noise, whole).items():
                folder = tmp_path / name / f"seed{seed}" / f"fold{fold}" / "evaluate"
                folder.mkdir(parents=True)
                write_table(folder / "test_predictions.csv", table)
    out = tmp_path / "out.json"
    given = [f"--cells={tmp_path}/cells", f"--fields=net={tmp_path}/fields", f"--out={out}"]
    benchmark.main(given)
    assert "net, as predicted - cells, chosen" in capsys.readouterr().out
    report = json.loads(out.read_text())
    found = report["whole_fields"]["net"]["as predicted"]
    expected = []
    for seed in (0, 1):
        tables = crossed_tables(10 * seed, 1.5, True).values()
        truth = np.concatenate([t.labels for t in tables])
        said = np.concatenate([t.predicted for t in tables])
        expected.append(
            (accuracy_score(truth, said), cohen_kappa_score(truth, said, weights="quadratic"))
        )
    for number, metric in enumerate(("accuracy", "quadratic_kappa")):
        row = found[metric]
        assert [pair[0] for pair in row["seeds"]] == pytest.approx([e[number] for e in expected])
        assert row["first"]["estimate"] == pytest.approx(np.mean([e[number] for e in expected]))
        apart = row["first"]["estimate"] - row["second"]["estimate"]
        assert row["difference"]["estimate"] == pytest.approx(apart)
        low, high = row["difference"]["interval"]
        assert low < apart < high
    untuned = report["whole_fields"]["net"]["both as predicted"]["accuracy"]
    assert untuned["first"] == found["accuracy"]["first"]
    worst = report["rules_of_cells"]["worst"]["accuracy"]["first"]
    assert untuned["second"]["estimate"] == pytest.approx(worst["estimate"])
    assert report["fields"] == 60
    assert report["cells"]["seeds"] == [0, 1]
    relabelled = crossed_tables(0, 1.5, True)[0]
    write_table(
        tmp_path / "fields/seed1/fold0/evaluate/test_predictions.csv",
        dataclasses.replace(relabelled, labels=(relabelled.labels + 1) % 6),
    )
    with pytest.raises(InputError, match=r"field f0_.* and its worst cell"):
        benchmark.main(given)
