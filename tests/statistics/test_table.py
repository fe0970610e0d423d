import dataclasses

import numpy as np
import pytest
from random_tables import random_table

from cervix_jax.errors import InputError
from cervix_jax.statistics.table import PredictionTable, align, concatenate


def test_aligned_whatever_the_order_of_rows_and_columns():
    table = random_table(3)
    order, columns = np.random.default_rng(0).permutation(60), [2, 0, 1]
    shuffled = table.take(order)
    shuffled = dataclasses.replace(
        shuffled,
        labels=np.argsort(columns)[shuffled.labels],
        probabilities=shuffled.probabilities[:, columns],
        class_names=tuple(table.class_names[c] for c in columns),
        logits=shuffled.logits[:, columns],
    )
    again = align(table, shuffled, ("A", "B"))
    for name in ("filenames", "class_names"):
        assert getattr(again, name) == getattr(table, name)
    for name in ("groups", "labels", "probabilities", "logits"):
        np.testing.assert_array_equal(getattr(again, name), getattr(table, name))


def test_what_cannot_be_aligned():
    table = random_table(4)
    for other, message in (
        (table.take(np.arange(59)), "A has 60 images and B 59"),
        (table.take(np.arange(60)[::-1][:60]), None),
        (dataclasses.replace(table, filenames=("new.png", *table.filenames[1:])),
         "image000.png is only in A"),
        (dataclasses.replace(table, labels=(table.labels + 1) % 3), "labels of 60 images differ"),
        (random_table(4, num_classes=4), "give predictions of the same classes"),
    ):  # fmt: skip
        if message is None:
            align(table, other, "AB")
        else:
            with pytest.raises(InputError, match=message):
                align(table, other, "AB")
    with pytest.raises(InputError, match=r"image059\.png is only in B"):
        align(table.take(np.arange(59)), table, "AB")


def test_folds_are_put_below_each_other():
    table = random_table(5)
    halves = [table.take(np.arange(30)), table.take(np.arange(30, 60))]
    whole = concatenate(halves)
    assert whole.filenames == table.filenames
    np.testing.assert_array_equal(whole.probabilities, table.probabilities)
    with pytest.raises(InputError, match="folds share images"):
        concatenate([table, halves[0]])


def test_joined_classes_sum_their_probabilities():
    names = ("HSIL", "NILM", "ASC-US", "SCC", "LSIL", "ASC-H")
    p = np.array([[0.3, 0.2, 0.1, 0.15, 0.05, 0.2]])
    table = PredictionTable(("x",), np.array(["x"]), np.array([2]), p, names)
    three = table.coarsen(3)
    assert three.class_names == ("NILM", "low-grade", "high-grade")
    np.testing.assert_allclose(three.probabilities, [[0.2, 0.15, 0.65]])
    assert three.labels.tolist() == [1]
    assert table.coarsen(2).labels.tolist() == [1]
