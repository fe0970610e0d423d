"""All damaged files are named at once."""

import logging

import pytest

from cervix_jax.errors import InputError
from cervix_jax.files.damaged import Damaged, DamagedFiles


def halved(number: int) -> int:
    if number % 2:
        raise InputError(f"{number}: is odd; give another.")
    return number // 2


def test_results_keep_their_order_and_errors_are_kept():
    damaged = Damaged()
    assert list(damaged.map(halved, range(7))) == [0, 1, 2, 3]
    with pytest.raises(DamagedFiles) as caught:
        damaged.report()
    assert str(caught.value) == (
        "3 files cannot be used: 1: is odd; give another | 3: is odd; give another | "
        "5: is odd; give another. Repair them, or leave them out with skip_damaged."
    )
    assert str(caught.value.with_way_out("go home")).endswith("Repair them, or go home.")


def test_one_error_is_said_as_it_is():
    damaged = Damaged()
    list(damaged.map(halved, [2, 3]))
    with pytest.raises(DamagedFiles, match=r"^3: is odd; give another, or leave them out with"):
        damaged.report()


def test_many_errors_are_all_logged(caplog):
    damaged = Damaged()
    list(damaged.map(halved, range(60)))
    with caplog.at_level(logging.ERROR, "absl"), pytest.raises(DamagedFiles) as caught:
        damaged.report()
    assert "... and 10 more. Repair them" in str(caught.value)
    assert sum("is odd" in record.getMessage() for record in caplog.records) == 30


def test_they_can_be_left_out(caplog):
    damaged = Damaged(skip=True)
    assert list(damaged.map(halved, range(4))) == [0, 1]
    with caplog.at_level(logging.WARNING, "absl"):
        damaged.report()
    assert "2 damaged files are left out" in caplog.text
    assert "3: is odd" in caplog.text
    Damaged().report()


def test_other_errors_are_raised():
    with pytest.raises(ZeroDivisionError):
        list(Damaged(skip=True).map(lambda number: 1 // number, [0]))
