"""The command on generated trees, with a network that trains in a second."""

import json
import shutil
from pathlib import Path

import pytest
from absl import flags
from absl.testing import flagsaver
from trees import save

from cervix_jax.data.classes import HERLEV, SIPAKMED
from cervix_jax.errors import InputError
from cervix_jax.files.lock import held
from cervix_jax.reproduce import __main__ as command
from cervix_jax.reproduce import experiments
from cervix_jax.reproduce.experiments import Settings, plan, run_all

FLAGS = (
    "out", "sipakmed", "herlev", "cric", "note", "data_dir", "densenet121", "only", "protocols",
    "seeds", "set", "shortcuts", "dry_run",
)  # fmt: skip
CLUSTERS = 10


@pytest.fixture(scope="module")
def trees_of(tmp_path_factory):
    """SIPaKMeD with fields and cells, and Herlev, all small."""
    root = tmp_path_factory.mktemp("raw")
    for label, name in enumerate(SIPAKMED.names):
        folder = root / "sipakmed" / f"im_{name}" / f"im_{name}"
        for cluster in range(1, CLUSTERS + 1):
            seed = 100 * label + cluster
            save(folder / f"{cluster:03d}.bmp", seed, (40, 30))
            save(folder / "CROPPED" / f"{cluster:03d}_01.bmp", seed)
    for label, name in enumerate(HERLEV.names):
        for cell in range(10):
            save(root / "herlev" / name / f"14{label}{cell}-1-001.png", 20 * label + cell)
    return root


@pytest.fixture(scope="module")
def reproduce(tmp_path_factory, trees_of, tiny_config):
    """Runs the command with the tiny network in every row."""
    command.define_flags()
    model = tiny_config().model.name
    common = [
        f"--sipakmed={trees_of / 'sipakmed'}", f"--herlev={trees_of / 'herlev'}",
        f"--data_dir={tmp_path_factory.mktemp('data')}", f"--set=model.name={model}",
        "--set=image_size=32", "--set=num_epochs=1", "--set=batch_size=8",
        "--set=eval_batch_size=8", "--set=split.folds=3", "--set=data.check_counts=False",
    ]  # fmt: skip

    def call(*arguments):
        with flagsaver.flagsaver():
            flags.FLAGS(["reproduce", *common, *arguments])
            return command.main(["reproduce"])

    yield call
    for name in FLAGS:
        delattr(flags.FLAGS, name)


@pytest.mark.slow
def test_the_rows_that_need_fields_run_on_a_generated_tree(reproduce, tmp_path, capsys):
    rows = "--only=transfer/paper,model5/paper,model7/paper,baseline2/block"
    assert reproduce(f"--out={tmp_path}", rows) is None
    found = json.loads((tmp_path / "results.json").read_text())
    measured = {(o["row"], o["protocol"]): o for o in found["outcomes"]}
    assert list(measured) == [
        ("baseline2", "paper"), ("baseline2", "block"), ("transfer", "paper"), ("model5", "paper"),
        ("model7", "paper"),
    ]  # fmt: skip
    # Of 10 of a class, 7 and 2 are cut off at the floors; of Herlev's, 2.
    assert measured["model5", "paper"]["n"] == measured["model7", "paper"]["n"] == 5
    assert measured["transfer", "paper"]["n"] == 7 * 8
    assert measured["transfer", "paper"]["init"] == "baseline2"
    assert measured["model5", "paper"]["init"] == "scratch, as no weights were given"
    assert measured["baseline2", "block"]["n"] == 5 * CLUSTERS
    assert len(measured["baseline2", "block"]["folds_accuracy"]) == 3
    assert found["shortcuts"]["baselines"]
    text = (tmp_path / "RESULTS.md").read_text()
    assert "| model5 | RCAN | sipakmed/multi_cell | 91.09 % (83.9 to 95.2) | " in text
    assert "| sipakmed/multi_cell | 85.15 % (76.9 to 90.8) | not run |" in text
    assert (tmp_path / "results.png").stat().st_size > 10_000

    # Again: nothing is run, and the same is written.
    shutil.rmtree(tmp_path / "runs/model5/paper/seed0/fold0/checkpoints")
    assert reproduce(f"--out={tmp_path}", rows) is None
    assert json.loads((tmp_path / "results.json").read_text())["outcomes"] == found["outcomes"]
    with pytest.raises(InputError, match="image_size is 32 there and 48 here"):
        reproduce(f"--out={tmp_path}", rows, "--set=image_size=48")


@pytest.mark.slow
def test_what_cannot_be_had_is_left_out_with_the_reason(reproduce, tmp_path, capsys):
    only = "--only=transfer/paper,own_herlev/paper"
    (tmp_path / "none").mkdir()
    missing = f"--sipakmed={tmp_path / 'none'}"
    weights = "--set=own_herlev:model.init_from="
    normalization = "--set=own_herlev:model.normalization=imagenet"
    # Where nothing is prepared: prepared data need no raw files.
    data = f"--data_dir={tmp_path / 'data'}"
    arguments = (f"--out={tmp_path / 'out'}", only, missing, weights, normalization, data)
    assert reproduce(*arguments, "--dry_run") is None
    shown = capsys.readouterr().out
    reason = next(line for line in shown.splitlines() if line.startswith("baseline2, paper: "))
    assert f"{tmp_path / 'none'}" in reason
    assert "transfer, paper: it needs the weights of baseline2" in shown
    assert "own_herlev, paper: to run" in shown
    assert not (tmp_path / "out").exists()
    assert reproduce(*arguments, "--seeds=2") is None
    found = json.loads((tmp_path / "out/results.json").read_text())
    assert [(o["row"], o["seeds"]) for o in found["outcomes"]] == [("own_herlev", 2)]
    assert found["outcomes"][0]["sd"] >= 0
    assert found["shortcuts"] is None
    because = "it needs the weights of baseline2, which is left out"
    assert found["skipped"]["transfer, paper"] == because
    text = (tmp_path / "out/RESULTS.md").read_text()
    published = reason.replace(str(tmp_path / "none"), "/path/to/SIPaKMeD")
    assert f"- {published.replace(str(tmp_path / 'data'), '/path/to/data')}" in text
    assert str(tmp_path) not in text


@pytest.mark.parametrize(
    ("only", "overrides", "message"),
    [
        (["model8"], [], "--only=model8: no such row"),
        (
            ["model5/blocks"],
            [],
            "--only=model5/blocks: model5 has the protocols paper, cluster, block",
        ),
        (["model5"], ["image_size"], "--set=image_size: cannot be set (write <field>=<value>)"),
        (["model5"], ["image_sise=3"], "--set=image_sise=3: cannot be set"),
        (["model5"], ["image_size=big"], "--set=image_size=big: cannot be set"),
        (["model5"], ["model8:image_size=3"], "no such row"),
    ],
)
def test_what_is_not_understood_is_named(tmp_path, only, overrides, message):
    with pytest.raises(InputError) as error:
        plan(only, ["paper"], Settings(tmp_path, {}, overrides=tuple(overrides)))
    assert message in str(error.value)


def test_overrides_of_some_rows_leave_the_others(tmp_path):
    scoped = ("paper:num_epochs=3", "own:image_size=64", "augment.hue=0.2", "cric:batch_size=8",
              "cric/field:image_size=256")  # fmt: skip
    settings = Settings(tmp_path, {}, overrides=scoped)
    rows = ["model6/paper", "own/block", "cric_cell_resnet50/cluster", "cric_field_rcan_blocks"]
    planned = plan(rows, ["cluster"], settings)
    assert [(e.config.num_epochs, e.config.image_size) for e in planned[:2]] == [(3, 224), (10, 64)]
    assert [e.config.image_size for e in planned[2:]] == [224, 256]
    assert [e.config.batch_size for e in planned] == [16, 32, 8, 8]
    assert [e.config.augment.hue for e in planned] == [0.2] * 4
    assert planned[3].config.model.attention == "blocks"
    assert planned[1].folder == tmp_path / "runs/own/block"
    assert [run.name for run in planned[1].runs] == [f"fold{fold}" for fold in range(5)]


def test_what_another_process_runs_is_left_to_it(tmp_path, monkeypatch):
    planned = plan(["transfer/paper", "model6/paper"], [], Settings(tmp_path, {}))
    ran, told = [], []

    def cross_validate(config, folder):
        with held(folder, folder.parent.name):
            ran.append(folder.parent.name)

    monkeypatch.setattr(experiments, "cross_validate", cross_validate)
    first = planned[0].folder
    lock = Path(first.parent, f".{first.name}.lock")
    finished = []
    with held(first, "baseline2"):
        assert lock.is_file()
        run_all(planned, told.append, finished.append)
    assert ran == ["model6"]
    assert finished == planned[2:]
    # `transfer` starts from `baseline2`, which that process has not finished.
    assert [line.partition(":")[0] for line in told if "not run by this" in line] == [
        "baseline2, paper", "transfer, paper"
    ]  # fmt: skip
