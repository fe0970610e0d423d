"""The order of classes, and the worst of them that a field shows."""

import unicodedata

import numpy as np
import pytest

from cervix_jax.errors import InputError
from cervix_jax.predict.severity import severity_of

CRIC = ("ASC-H", "ASC-US", "HSIL", "LSIL", "NILM", "SCC")
SIPAKMED = (
    "Dyskeratotic", "Koilocytotic", "Metaplastic", "Parabasal", "Superficial-Intermediate",
)  # fmt: skip


def one_each(names):
    return np.eye(len(names)) * 0.6 + 0.4 / len(names)


@pytest.mark.parametrize(
    ("names", "text", "abnormal"),
    [
        (CRIC, "NILM < ASC-US < LSIL < ASC-H < HSIL < SCC", {*CRIC} - {"NILM"}),
        (
            SIPAKMED,
            "Parabasal = Superficial-Intermediate < Metaplastic < Dyskeratotic = Koilocytotic",
            {"Dyskeratotic", "Koilocytotic"},
        ),
    ],
)
def test_orders_of_known_classes(names, text, abnormal):
    severity = severity_of(names)
    assert severity.text() == text
    assert {n for n, bad in zip(names, severity.abnormal, strict=True) if bad} == abnormal


def test_of_unknown_classes_none_is_the_worst_and_none_abnormal():
    severity = severity_of(("b", "a"))
    assert (severity.known, severity.abnormal) == (False, None)
    assert "give --severity=" in severity.text()
    assert severity.worst(np.eye(2), 0.0) is None
    assert severity_of(("b", "a"), ("a", "b")).worst(np.eye(2), 0.5) == ("b", 1.0, 0)
    own = severity_of(("b", "a", "c"), ("c", "a", "b"), ("b",))
    assert own.text() == "c < a < b"
    assert own.abnormal.tolist() == [True, False, False]
    for order in (("a", "b"), ("a", "b", "b"), ("a", "b", "c", "d")):
        with pytest.raises(InputError, match="every class once"):
            severity_of(("b", "a", "c"), order)
    with pytest.raises(InputError, match="--abnormal=x"):
        severity_of(("b", "a"), (), ("x",))


def test_the_worst_that_is_probable_enough():
    severity = severity_of(CRIC)
    p = one_each(CRIC)
    assert severity.worst(p, 0.5) == ("SCC", pytest.approx(2 / 3), 5)
    assert severity.worst(p[:5], 0.5)[0] == "HSIL"
    assert severity.worst(p[[4]], 0.5)[0] == "NILM"
    assert severity.worst(p, 0.7) is None
    assert severity.worst(p[:0], 0.0) is None
    # One window is enough, however many speak for less.
    assert severity.worst(p[[4] * 99 + [1]], 0.5)[0] == "ASC-US"
    shared = severity_of(SIPAKMED)
    two = np.asarray([[0.6, 0.1, 0.1, 0.1, 0.1], [0.05, 0.8, 0.05, 0.05, 0.05]])
    assert shared.worst(two, 0.5) == ("Koilocytotic", 0.8, 1)


def test_names_are_compared_in_one_form_of_unicode():
    composed, apart = (unicodedata.normalize(form, "Läsion") for form in ("NFC", "NFD"))
    severity = severity_of((composed, "Normal"), ("Normal", apart), (apart,))
    assert severity.ranks.tolist() == [1, 0]
    assert severity.abnormal.tolist() == [True, False]
