"""Functions of the package take from Python what their flags take, and refuse the same."""

from typing import Any

import pytest

from cervix_jax import data, evaluate_run, explain_run, models, predict_images, train_and_evaluate
from cervix_jax.errors import InputError, check_count, check_number
from cervix_jax.explain.registry import check_names
from cervix_jax.explanations.explainer import MapSettings
from cervix_jax.predict.field_rows import FieldOptions
from cervix_jax.predict.image_rows import ImageOptions


def predicted(**given: Any):
    return predict_images("no_run", ["no.png"], out="no_such_table.csv", **given)


def fields(**given: Any):
    return FieldOptions(**given)


CASES = [
    *((predicted, {"batch_size": x}, "--batch_size=") for x in (-1, 2.5, "8", None, True)),
    *((predicted, {"max_pixels": x}, "--max_pixels=") for x in (0, -1, 1e6, "many")),
    *((predicted, {"coverage": x}, "--coverage=") for x in (0, 1, -1, 95, "0.9", None)),
    *((fields, {"min_probability": x}, "--min_probability=") for x in (-0.1, 1.1, "0.5", None)),
    *((fields, {"min_contrast": x}, "--min_contrast=") for x in (-1, float("nan"), "1")),
    *((fields, {"field": "window", "window": x}, "--window=") for x in (-1, 0, 50.5, "50")),
    *((fields, {"field": "window", "window": 9, "overlap": x}, "--overlap=")
      for x in (-0.1, 0.95, 1, float("nan"), "0.5", None)),
    *((fields, {"field": "nuclei", "positions": "p.csv", "crop": x}, "--crop=")
      for x in (-1, 20.5, "20")),
    (fields, {"field": "slides"}, "--field=slides"),
    (ImageOptions, {"aggregate": "best"}, "--aggregate=best"),
    (ImageOptions, {"method": "gradcam"}, "--method=gradcam"),
    *((evaluate_run, {"run": "no_run", "split": x}, "--split=") for x in ("tset", "", None, 1)),
    *((explain_run, {"run": "no_run", "split": x}, "--split=") for x in ("tset", None)),
    *((explain_run, {"run": "no_run", "images": x}, "images=") for x in (-1, 2.5, "8", None)),
    *((explain_run, {"run": "no_run", name: -1}, f"{name}=-1: give")
      for name in ("sheet_images", "figure_images", "nucleus_radius")),
    (explain_run, {"run": "no_run", "target": "best"}, "--target='best'"),
    *((MapSettings, {name: 0}, f"{name}=0: give a whole")
      for name in ("steps", "samples", "masks", "window", "batch_size")),
    (MapSettings, {"steps": 2.5}, "steps=2.5"),
    (MapSettings, {"output": "logits"}, "did you mean 'logit'"),
    (MapSettings, {"baseline": "grey"}, "baseline='grey'"),
    (check_names, {"names": ["salience"]}, "salience is not a method"),
    (check_names, {"names": []}, "no method is given"),
    *((models.create, {"name": "rcan", "num_classes": x}, "num_classes=")
      for x in (0, -1, 2.5, "5", None)),
    (models.create, {"name": None, "num_classes": 5}, "no model is called None"),
    (train_and_evaluate, {"config": {}, "folder": "x"}, "config is a dict; give a ConfigDict"),
    (train_and_evaluate, {"config": "paper", "folder": "x"}, "config is a str"),
    (train_and_evaluate, {"config": None, "folder": "x"}, "config is a NoneType"),
    (data.load, {"name": "sipakmet/single_cell"}, "did you mean 'sipakmed'"),
    (data.load, {"name": "sipakmed"}, "a config is missing"),
    (data.load, {"name": None}, "the data set is given as NoneType; give its name"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("function", "given", "says"), CASES, ids=[f"{c[0].__name__}-{c[1]}"[:80] for c in CASES]
)
def test_an_argument_that_cannot_be_used(function, given, says):
    with pytest.raises(InputError) as error:
        function(**given)
    assert says in str(error.value)


@pytest.mark.parametrize(
    "given",
    [{"protocol": "clusters"}, {"folds": 1}, {"folds": 2.5}, {"folds": "5"}, {"fold": 5},
     {"fold": -1}, {"fold": None}, {"seed": -1}, {"seed": 1.5}],
)  # fmt: skip
def test_a_table_of_splits(prepared, given):
    settings = {"clusters_per_class": 4, "cells_per_cluster": 2}
    with pytest.raises(InputError, match=rf"split\.{next(iter(given))}="):
        data.split_table(
            "cervix_phantom/single_cell", data_dir=prepared, settings=settings, **given
        )


def test_one_method_may_be_a_plain_string():
    assert check_names("saliency") == ("saliency",)


def test_limits():
    for right in (1, 10**9):
        check_count("n", right)
    for right in (0, 1, 0.5):
        check_number("x", right, 0, 1)
    for wrong in (float("inf"), True, "1", -1e-9, 1.001):
        with pytest.raises(InputError, match=r"x=.*: give a number from 0 to 1\."):
            check_number("x", wrong, 0, 1)
