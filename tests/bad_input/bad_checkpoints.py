"""Folders of runs and prepared data that are not what they should be."""

import json
import shutil
from pathlib import Path

from bad_case import Case, Done

PHANTOM = "cervix_phantom/single_cell-cells_per_cluster_2-clusters_per_class_4/1.0.0"


def _damaged(id_: str, damage, *expected: str, command="evaluate", args=()) -> Case:
    """A copy of a finished run, damaged."""
    return Case(id_, command, ("--workdir={run}", *args), expected, lambda tmp: damage(tmp / "run"))


def _config(**changed) -> dict:
    """Changes config.json; None removes a field."""

    def damage(run: Path):
        path = run / "config.json"
        config = json.loads(path.read_text())
        for name, value in changed.items():
            outer, _, inner = name.rpartition("__")
            place = config[outer] if outer else config
            place[inner] = value
            if value is None:
                del place[inner]
        path.write_text(json.dumps(config))

    return damage


def _text(name: str, text: str | bytes):
    def damage(run: Path):
        for path in run.glob(name):
            path.write_bytes(text.encode() if isinstance(text, str) else text)

    return damage


def _cut(pattern: str):
    def damage(run: Path):
        for path in run.glob(pattern):
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return damage


def _remove(pattern: str):
    def damage(run: Path):
        for path in run.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return damage


def _classes(count: int):
    def damage(run: Path):
        for path in run.glob("checkpoints/*/dataset/metadata"):
            dataset = json.loads(path.read_text())
            dataset["class_names"] = [f"class {number}" for number in range(count)]
            path.write_text(json.dumps(dataset))

    return damage


def _prepared(id_: str, damage, *expected: str, command="evaluate", handled=None) -> Case:
    args = ("--workdir={run}", "--data_dir={prepared}")
    make = lambda tmp: damage(tmp / "prepared" / PHANTOM)  # noqa: E731
    return Case(id_, command, args, expected, make, handled)


def _evaluated(done: Done):
    assert json.loads((done.folder / "run/evaluate/test.json").read_text())["n"] == 10


def _index(run: Path):
    path = run / "examples.json"
    index = json.loads(path.read_text())
    index["labels"] = ["a"] * len(index["labels"])
    path.write_text(json.dumps(index))


READERS = ("evaluate", "report", "export", "audit", "explain", "predict")
OUT = {"export": ("--out={tmp}/out",), "predict": ("--out={tmp}/p.csv", "{root}/README.md")}

CASES = [
    *(
        Case(
            f"a folder that is not there ({command})",
            command,
            ("--workdir={tmp}/none", *OUT.get(command, ())),
            ("{tmp}/none",),
        )
        for command in READERS
    ),
    *(
        _damaged(
            f"config.json is cut ({command})",
            _cut("config.json"),
            "{tmp}/run/config.json",
            command=command,
            args=OUT.get(command, ()),
        )
        for command in READERS
    ),
    *(
        _damaged(
            f"weights are cut ({command})",
            _cut("checkpoints/*/state/**/d/*"),
            "{tmp}/run/checkpoints",
            "cannot be read",
            command=command,
            args=OUT.get(command, ()),
        )
        for command in READERS
    ),
    *(
        _damaged(
            f"another number of classes ({command})",
            _classes(4),
            "{tmp}/run",
            "classes",
            command=command,
            args=OUT.get(command, ()),
        )
        for command in READERS
    ),
    _damaged("a file for a run", lambda run: [shutil.rmtree(run), run.write_text("")], "{tmp}/run"),
    _damaged("a run without checkpoints", _remove("checkpoints"), "{tmp}/run", "no checkpoint"),
    _damaged("a run with empty checkpoints", _remove("checkpoints/*"), "{tmp}/run/checkpoints"),
    _damaged("config.json is a list", _text("config.json", "[1]"), "{tmp}/run/config.json"),
    _damaged("config.json is null", _text("config.json", "null"), "{tmp}/run/config.json"),
    _damaged(
        "config.json is nested a million deep",
        _text("config.json", "[" * 10**6),
        "{tmp}/run/config.json",
    ),
    _damaged(
        "config.json is binary", _text("config.json", bytes(range(256))), "{tmp}/run/config.json"
    ),
    _damaged(
        "config.json lacks a field",
        _config(model__normalization=None),
        "{tmp}/run/config.json",
        "model.normalization",
    ),
    _damaged(
        "config.json lacks a group", _config(split=None), "{tmp}/run/config.json", "split.protocol"
    ),
    _damaged(
        "config.json has a text for a number",
        _config(image_size="big"),
        "{tmp}/run/config.json",
        "image_size='big'",
    ),
    _damaged("config.json has no size", _config(image_size=-3), "image_size=-3"),
    _damaged("config.json has another model", _config(model__name="rcan"), "{tmp}/run"),
    _damaged("config.json has no such model", _config(model__name="rcam"), "rcam"),
    _damaged("config.json has no such data", _config(data__dataset="x/y"), "data set 'x/y'"),
    _damaged(
        "config.json has no such split", _config(split__protocol="luck"), "split.protocol='luck'"
    ),
    _damaged("config.json has no such metric", _config(checkpoint__best_metric="luck"), "luck"),
    _damaged(
        "metrics are no JSON", _text("checkpoints/*/metrics/metrics", "{"), "{tmp}/run/checkpoints"
    ),
    _damaged(
        "metrics are a list", _text("checkpoints/*/metrics/metrics", "[]"), "{tmp}/run/checkpoints"
    ),
    _damaged(
        "the data's facts are no JSON",
        _text("checkpoints/*/dataset/metadata", "{"),
        "{tmp}/run/checkpoints",
    ),
    _damaged(
        "the data's facts lack classes",
        _text("checkpoints/*/dataset/metadata", "{}"),
        "{tmp}/run/checkpoints",
    ),
    _damaged(
        "the data's facts are a list",
        _text("checkpoints/*/dataset/metadata", "[]"),
        "{tmp}/run/checkpoints",
    ),
    _damaged(
        "no weights", _remove("checkpoints/*/state"), "{tmp}/run/checkpoints", "cannot be read"
    ),
    _damaged(
        "no description of the weights",
        _remove("checkpoints/*/state/_METADATA"),
        "{tmp}/run/checkpoints",
        "cannot be read",
    ),
    _damaged(
        "no checksums",
        _text("checkpoints/*/_CHECKPOINT_METADATA", "{"),
        "{tmp}/run/checkpoints",
        "cannot be read",
    ),
    _damaged("no such step", lambda run: None, "no checkpoint 7", "[9, 12]", args=("--step=7",)),
    _damaged("a step below zero", lambda run: None, "step='-1'", args=("--step=-1",)),
    _damaged("a step that is no number", lambda run: None, "step='²'", args=("--step=²",)),
    _damaged("a split that is none", lambda run: None, "--split=tset", args=("--split=tset",)),
    _damaged(
        "a stray file among checkpoints",
        lambda run: (run / "checkpoints/²").touch(),
        "no checkpoint 7",
        args=("--step=7",),
    ),
    _damaged(
        "report without evaluation",
        _remove("evaluate"),
        "{tmp}/run/evaluate/test.json",
        command="report",
    ),
    _damaged(
        "report of a cut evaluation",
        _cut("evaluate/test.json"),
        "{tmp}/run/evaluate/test.json",
        command="report",
    ),
    _damaged(
        "report of an evaluation that is a list",
        _text("evaluate/test.json", "[]"),
        "{tmp}/run/evaluate/test.json",
        command="report",
    ),
    _damaged(
        "report of an evaluation with half its fields",
        _text("evaluate/test.json", '{"overall": {}}'),
        "{tmp}/run/evaluate/test.json",
        command="report",
    ),
    _damaged(
        "report of cut predictions",
        _cut("evaluate/test_predictions.csv"),
        "{tmp}/run/evaluate/test_predictions.csv",
        command="report",
    ),
    _damaged(
        "report with a cut env.json", _cut("env.json"), "{tmp}/run/env.json", command="report"
    ),
    _damaged(
        "report with a list for env.json",
        _text("env.json", "[1]"),
        "{tmp}/run/env.json",
        command="report",
    ),
    _damaged(
        "export with a cut env.json",
        _cut("env.json"),
        "{tmp}/run/env.json",
        command="export",
        args=OUT["export"],
    ),
    _damaged(
        "export of a cut evaluation",
        _cut("evaluate/test.json"),
        "{tmp}/run/evaluate/test.json",
        command="export",
        args=OUT["export"],
    ),
    Case(
        "training goes on from damaged checkpoints",
        "main",
        ("--config={root}/tests/small.py:{data}", "--workdir={run}"),
        ("{tmp}/run/checkpoints", "none of the checkpoints"),
        lambda tmp: _cut("checkpoints/*/state/**/d/*")(tmp / "run"),
    ),
    Case(
        "training goes on with another config",
        "main",
        ("--config={root}/tests/small.py:{data}", "--config.seed=5", "--workdir={run}"),
        ("{tmp}/run", "seed is 0 there and 5 here"),
    ),
    Case(
        "training goes on with a cut config.json",
        "main",
        ("--config={root}/tests/small.py:{data}", "--workdir={run}"),
        ("{tmp}/run/config.json",),
        lambda tmp: _cut("config.json")(tmp / "run"),
    ),
    Case(
        "training starts from a run without weights",
        "main",
        (
            "--config={root}/tests/small.py:{data}",
            "--workdir={tmp}/new",
            "--config.model.init_from={run}",
        ),
        ("{tmp}/run/checkpoints",),
        lambda tmp: _remove("checkpoints/*/state")(tmp / "run"),
    ),
    _prepared(
        "prepared data without description",
        _remove("dataset_info.json"),
        "{tmp}/prepared",
        "delete that folder",
    ),
    _prepared(
        "prepared data with a cut description",
        _cut("dataset_info.json"),
        "{tmp}/prepared",
        "run again",
    ),
    _prepared(
        "prepared data with another description",
        _text("dataset_info.json", "[]"),
        "{tmp}/prepared",
        "run again",
    ),
    _prepared("prepared data without features", _remove("features.json"), handled=_evaluated),
    _prepared("prepared data with cut features", _cut("features.json"), handled=_evaluated),
    _prepared(
        "prepared data without examples",
        _remove("*array_record*"),
        "{tmp}/prepared",
        "delete that folder",
    ),
    _prepared(
        "prepared data that are cut", _cut("*array_record*"), "{tmp}/prepared", "delete that folder"
    ),
    _prepared(
        "prepared data that are overwritten",
        lambda path: [p.write_bytes(bytes(p.stat().st_size)) for p in path.glob("*array_record*")],
        "{tmp}/prepared",
        "delete that folder",
    ),
    _prepared("prepared data without a list", _remove("examples.json"), handled=_evaluated),
    _prepared("prepared data with a cut list", _cut("examples.json"), handled=_evaluated),
    _prepared("prepared data with a list of other labels", _index, handled=_evaluated),
]
