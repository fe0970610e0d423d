"""What the errors of `block` are measured by: look-ups by field, gathering, rates along a cue."""

import types
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _path(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


@pytest.fixture
def cells():
    """Two classes, eight fields of three cells; fields 0, 1, 4 and 5 are tested."""
    field = np.repeat(np.arange(8), 3)
    labels = field // 4
    wrong = field == 1
    return types.SimpleNamespace(
        field=field, labels=labels, names=("a", "b"), field_names=np.arange(8).astype(str),
        called=np.where(wrong, 1, labels), error=wrong, fold=np.where(field % 4 < 2, 0, -1),
        tested=field % 4 < 2, wrong=wrong.astype(float), sure=np.full(24, 0.9), seeds={0: 1},
        splits=[np.where(field % 4 < 2, "test", "train")],
    )  # fmt: skip


def test_the_nearest_training_field_is_that_of_the_fields_means(cells):
    import error_cues

    # Field 1 of class a looks like the training fields 6 and 7 of class b.
    level = np.array([0.0, 10.0, 0.0, 1.0, 10.0, 10.0, 10.0, 12.0])
    noise = np.tile([-3.0, 0.0, 3.0], 8)
    values = (level[cells.field] + noise)[:, None]
    own, said = error_cues.nearest(cells, values, cells.splits)
    scale = np.std([0.0, 1.0, 10.0, 12.0])
    assert own[cells.field == 0] == pytest.approx(np.zeros(3))
    assert own[cells.field == 1] == pytest.approx(np.full(3, 9 / scale))
    assert np.isnan(own[cells.field == 2]).all()
    assert said[cells.field == 1].tolist() == [1, 1, 1]
    named = error_cues.named(cells, cells.tested, said)
    assert named["the_true_class_of_right_cells"] == 1
    assert named["the_true_class_of_errors"] == 0
    assert named["the_class_that_errors_are_called"] == 1
    assert error_cues.along(cells, cells.tested, own)["auroc_of_an_error"] == 1
    rates = error_cues.along(cells, cells.tested, np.arange(24.0), parts=4)
    assert rates["error_rates"] == [0, 1, 0, 0]


def test_errors_that_fill_a_field_gather_more_than_dealt_ones(cells):
    import block_errors

    found = block_errors.by_field(cells, cells.tested)
    assert found["fields"] == 4
    assert found["fields_with_an_error"] == 1
    assert found["fields_that_hold_half_of_the_errors"] == 1
    assert found["fields_of_3_or_more_cells_all_wrong"] == 1
    # One of 20 ways to deal three errors to six cells fills field 0, another fills field 1.
    assert found["the_same_dealt_at_random"] == pytest.approx(0.1, abs=0.06)
    assert block_errors.by_pair(cells, cells.tested) == [
        {"class": "a", "called": "b", "errors": 3, "of": 6}
    ]


def test_tenths_are_the_half_blocks_in_their_order():
    import block_errors

    from cervix_jax.data.splits import assign_splits

    groups = [f"{number:03d}" for number in range(20)]
    names = [f"{group}.png" for group in groups]
    splits = [
        assign_splits(names, [0] * 20, groups, protocol="block", fold=fold) for fold in range(5)
    ]
    assert block_errors._tenths(splits, np.arange(20)).tolist() == [n // 2 for n in range(20)]
