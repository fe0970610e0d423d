"""The benchmark that lays out a probe's predictions as a cross-validation's."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from cervix_jax.evaluate.sides import read_side


@pytest.mark.parametrize("view", ["stretch", "colour"])
def test_every_fold_is_fitted_on_its_training_part_alone(tmp_path, monkeypatch, view):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    import probe_folds as benchmark

    random = np.random.default_rng(0)
    labels = np.arange(60) % 3
    values = random.normal(size=(60, 4)) + 3 * np.eye(4)[labels]
    names = [f"{i:02d}.png" for i in range(60)]
    dataset = SimpleNamespace(
        labels=labels, filenames=names, groups=[f"g{i // 3}" for i in range(60)],
        class_names=("a", "b", "c"),
    )  # fmt: skip
    splits = np.repeat(["train", "val", "test"], 20)

    def split_table(*_, fold, **__):
        turned = np.roll(splits, 20 * fold)
        return [{"filename": n, "split": s} for n, s in zip(names, turned, strict=True)]

    monkeypatch.setattr(benchmark, "load", lambda *_, **__: dataset)
    monkeypatch.setattr(benchmark, "split_table", split_table)
    monkeypatch.setattr(benchmark.frozen_probe, "features", lambda *_, **__: values)
    measured = SimpleNamespace(features={"colour": values})
    monkeypatch.setattr(benchmark, "measure", lambda *_, **__: measured)
    given = [f"--{n}=x" for n in ("dataset", "protocol", "manual_dir", "data_dir", "cache")]

    def predicted(out):
        benchmark.main([*given, f"--out={tmp_path / out}", "--folds=3", f"--view={view}"])
        return {s: read_side(tmp_path / out, s).tables for s in ("val", "test")}

    first = predicted("first")
    tested = [n for fold in range(3) for n in first["test"][0, fold].filenames]
    assert sorted(tested) == names
    assert first["test"][0, 0].correct.mean() > 0.8
    assert first["test"][0, 0].logits is not None
    # Labels of validation and test change nothing.
    dataset.labels = np.where(splits == "train", labels, (labels + 1) % 3)
    second = predicted("second")
    for split in ("val", "test"):
        a, b = (each[split][0, 0] for each in (first, second))
        np.testing.assert_array_equal(a.probabilities, b.probabilities)
        assert (a.labels != b.labels).all()
