"""Configs, flags and their values."""

from bad_case import Case


def _main(id_: str, *args: str, expected: tuple[str, ...], make=None) -> Case:
    """`main` on the phantom with the small model."""
    config = () if args[0].startswith("--config=") else ("--config={root}/tests/small.py:{data}",)
    given = (*config, "--workdir={tmp}/new", *args)
    return Case(id_, "main", given, expected, make)


def _field(name: str, value: str, *expected: str) -> Case:
    return _main(
        f"{name}={value}", f"--config.{name}={value}", expected=expected or (f"{name}={value}",)
    )


def _write(name: str, text: str):
    return lambda tmp: (tmp / name).write_text(text)


CASES = [
    _field("learning_rat", "1", "no field 'learning_rat'", "did you mean --config.learning_rate?"),
    _field("batch_size", "many", "--config.batch_size=many"),
    _field("batch_size", "0"),
    _field("batch_size", "-8"),
    _field("batch_size", "1000"),
    _field("eval_batch_size", "0"),
    _field("num_epochs", "0"),
    _field("num_epochs", "-1"),
    _field("image_size", "0"),
    _field("image_size", "-32"),
    _field("image_size", "1000000"),
    _field("learning_rate", "nan"),
    _field("learning_rate", "-1"),
    _field("learning_rate", "inf"),
    _field("seed", "-1"),
    _field("ema_decay", "2"),
    _field("accumulation_steps", "0"),
    _field("accumulation_steps", "3"),
    _field("early_stopping_epochs", "-1"),
    _field("checkpoint.every_steps", "-1"),
    _field("checkpoint.best_metric", "luck", "checkpoint.best_metric='luck'"),
    _field("model.name", "rcam", "rcam"),
    _field("model.attention", "everywhere", "attention"),
    _field("model.dropout", "1.5"),
    _field("model.dropout", "-0.1"),
    _field("model.dropout", "nan"),
    _field("model.dtype", "float8", "float8"),
    _field("model.normalization", "zscore", "model.normalization='zscore'"),
    _field("optimizer.name", "lion", "optimizer.name='lion'"),
    _field("optimizer.schedule", "steps", "optimizer.schedule='steps'"),
    _field("optimizer.weight_decay", "-1"),
    _field("optimizer.momentum", "-1"),
    _field("optimizer.clip_norm", "-1"),
    _field("optimizer.clip_norm", "nan"),
    _field("optimizer.warmup_epochs", "-1"),
    _field("optimizer.warmup_epochs", "nan"),
    _field("optimizer.final_share", "-1"),
    _field("optimizer.freeze_epochs", "nan"),
    _field("optimizer.layer_decay", "0"),
    _field("loss.label_smoothing", "1"),
    _field("loss.class_weights", "heavy", "loss.class_weights='heavy'"),
    _field("augment.brightness", "-1", "brightness"),
    _field("augment.flip", "maybe", "--config.augment.flip=maybe"),
    _field("split.protocol", "luck", "split.protocol='luck'"),
    _field("split.fold", "4", "split.fold=4", "choose 0 to 3"),
    _field("split.fold", "-1", "split.fold=-1"),
    _field("split.folds", "1"),
    _field("split.folds", "-3"),
    _field("split.folds", "1000"),
    _field("split.seed", "-1"),
    _field("cross_validation.seeds", "-1"),
    _field("data.dataset", "", "data set ''"),
    _field("data.dataset", "sipakmet/single_cell", "did you mean 'sipakmed'"),
    _field("data.dataset", "herlev", "a config is missing"),
    _field("data.resize", "zoom", "data.resize='zoom'"),
    _field("data.placement", "cloud", "data.placement='cloud'"),
    _field("data.settings.clusters_per_class", "-1", "clusters_per_class=-1"),
    _field("data.settings.clusters_per_class", "100000000", "clusters_per_class"),
    _field("data.settings.blur", "nan", "blur=nan"),
    _field("data.data_dir", "~nobody_of_this_name/x", "~nobody_of_this_name"),
    _field("data.data_dir", "x" * 300, "File name too long"),
    _main(
        "a config that is absent", "--config=none.py", expected=("--config=none.py", "no such file")
    ),
    _main(
        "a config with a syntax error",
        "--config={tmp}/c.py",
        expected=("c.py", "SyntaxError"),
        make=_write("c.py", "def get_config(:\n"),
    ),
    _main(
        "a config without get_config",
        "--config={tmp}/c.py",
        expected=("c.py", "get_config"),
        make=_write("c.py", "x = 1\n"),
    ),
    _main(
        "a config that gives no config",
        "--config={tmp}/c.py",
        expected=("c.py",),
        make=_write("c.py", "def get_config(arg=''):\n    return 3\n"),
    ),
    _main(
        "a config without a field",
        "--config={tmp}/c.py",
        expected=("c.py",),
        make=_write(
            "c.py",
            "import ml_collections\n"
            "def get_config(arg=''):\n    return ml_collections.ConfigDict({'seed': 1})\n",
        ),
    ),
    _main(
        "a config that is a folder",
        "--config={tmp}/c.py",
        expected=("c.py",),
        make=lambda tmp: (tmp / "c.py").mkdir(),
    ),
    _main(
        "a config that is binary",
        "--config={tmp}/c.py",
        expected=("c.py",),
        make=lambda tmp: (tmp / "c.py").write_bytes(bytes(range(256))),
    ),
    _main("profile", "--profile=9:1", expected=("--profile=9:1",)),
    _main("profile text", "--profile=all", expected=("--profile=all",)),
    _main("a stray argument", "stray", expected=("unexpected argument 'stray'",)),
    _main("processes", "--num_processes=2", expected=("--num_processes=2",)),
]
