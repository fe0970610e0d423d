import unicodedata

import pytest

from cervix_jax.data.class_map import absent_classes, match_classes, parse_class_map
from cervix_jax.errors import InputError

RUN = ("HSIL", "NILM")


@pytest.mark.parametrize(
    ("data", "class_map", "expected"),
    [
        (("HSIL", "NILM"), None, [0, 1]),
        (("NILM", "HSIL"), None, [1, 0]),
        (("NILM",), {}, [1]),
        (("NILM", "Severe (HSIL)"), {"HSIL": "Severe (HSIL)"}, [1, 0]),
        (("normal", "reactive", "HSIL"), {"NILM": ["normal", "reactive"]}, [1, 1, 0]),
        # The map goes before equal names: here somebody exchanged the two.
        (("HSIL", "NILM"), {"HSIL": "NILM", "NILM": "HSIL"}, [1, 0]),
        (("HSIL", "NILM", "LSIL"), {"HSIL": "LSIL"}, [0, 1, 0]),
    ],
)
def test_labels_of_the_run(data, class_map, expected):
    match = match_classes(RUN, data, class_map)
    assert match.tolist() == expected
    assert match.dtype == "int64"


def test_names_are_compared_in_nfc():
    decomposed = unicodedata.normalize("NFD", "Dysplasie schwér")
    assert match_classes(("Dysplasie schwér",), (decomposed,)).tolist() == [0]
    assert match_classes(("a", "b"), ("b", decomposed), {"a": "Dysplasie schwér"}).tolist() == [
        1,
        0,
    ]


@pytest.mark.parametrize(
    ("data", "class_map", "message"),
    [
        (
            ("NILM", "Severe (HSIL)"),
            None,
            r"HSIL, NILM, those of the data set NILM, Severe \(HSIL\).*"
            r"--class_map='HSIL=Severe \(HSIL\)'",
        ),
        (
            ("HSIL", "LSIL", "NILM"),
            None,
            "LSIL is unknown to the run. Leave its images out.*--class_map=HSIL=LSIL",
        ),
        (("a", "b"), None, "a, b are unknown to the run.*--class_map=HSIL=a --class_map=NILM=b"),
        (("HSIL", "NILM"), {"LSIL": "NILM"}, "'LSIL' is not a class; the run's classes are HSIL"),
        (("HSIL", "NILM"), {"HSIL": "high"}, "'high' is not a class; the run's classes are HSIL"),
        (("HSIL", "x"), {"HSIL": "x", "NILM": "x"}, "'x' is already mapped to 'HSIL'"),
    ],
)
def test_what_does_not_match(data, class_map, message):
    with pytest.raises(InputError, match=message):
        match_classes(RUN, data, class_map)


def test_classes_that_a_data_set_lacks():
    assert absent_classes(RUN, RUN) == ()
    assert absent_classes(RUN, ("NILM",)) == ("HSIL",)
    assert absent_classes(RUN, ("x",), {"HSIL": "x"}) == ("NILM",)


@pytest.mark.parametrize(
    ("given", "classes", "expected"),
    [
        ([], RUN, {}),
        (["HSIL=Severe (HSIL)"], RUN, {"HSIL": ["Severe (HSIL)"]}),
        (["HSIL=a", "HSIL = b"], RUN, {"HSIL": ["a", "b"]}),
        (["p=1=q=2"], ("p=1", "r"), {"p=1": ["q=2"]}),
    ],
)
def test_parse(given, classes, expected):
    assert parse_class_map(given, classes) == expected


@pytest.mark.parametrize("text", ["HSIL", "HSIL=", "LSIL=HSIL", "=HSIL", ""])
def test_parse_refuses(text):
    with pytest.raises(InputError, match="the run's classes are HSIL, NILM"):
        parse_class_map([text], RUN)
