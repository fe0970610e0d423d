import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
from absl import flags
from ml_collections import config_flags

from cervix_jax.config.base import base_config
from cervix_jax.config.fields import (
    FIELDS,
    as_of_today,
    check_fields,
    check_types,
    check_values,
    fields_of,
    leaves,
    meant_field,
)
from cervix_jax.data import catalog
from cervix_jax.data.settings import REGISTERED, settings_of
from cervix_jax.errors import InputError

ROOT = Path(__file__).parents[2]
DATASETS = catalog.dataset_names()
OPEN = [name for name, field in FIELDS.items() if field.open]
RANGED = [name for name, field in FIELDS.items() if field.low is not None]
CHOSEN = [name for name, field in FIELDS.items() if field.choices and not field.open]
SETTINGS = [(name, key) for name in DATASETS for key in catalog.known_settings(name)]


def changed(**values):
    config = base_config("sipakmed/single_cell")
    with config.ignore_type():
        config.update_from_flattened_dict({k.replace("__", "."): v for k, v in values.items()})
    return config


def refusal(name, value):
    with pytest.raises(InputError) as caught:
        check_values(changed(**{name: value}))
    return str(caught.value)


@pytest.mark.parametrize("dataset", DATASETS)
def test_a_config_has_the_fields_of_the_table_and_no_others(dataset):
    config = base_config(dataset)
    assert {name for name, _ in leaves(config)} == set(fields_of(dataset))
    check_fields(config, "config")
    check_values(config)


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_says_what_it_means_and_its_default_is_allowed(name):
    field = FIELDS[name]
    assert field.meaning
    assert not field.meaning.endswith(".")
    assert "\n" not in field.meaning
    assert field.kind in (bool, int, float, str)
    assert field.checked(name, field.default) == field.default
    assert bool(field.limits()) == (field.kind is not str or bool(field.choices))
    if field.kind in (int, float):
        assert field.low is not None
        assert field.high is not None


@pytest.mark.parametrize("name", RANGED)
def test_a_number_out_of_range_is_named_with_its_range(name):
    field = FIELDS[name]
    for value in (field.low - 1, field.high * 2, float("nan"), float("inf"), True, "1", None):
        with pytest.raises(InputError) as caught:
            field.checked(name, value)
        assert str(caught.value) == f"{name}={value!r}: give {field.wanted()}."
    low = field.kind(field.low - 1)
    assert refusal(name, low) == f"{name}={low!r}: give {field.wanted()}."
    assert f"number from {field.limits()}" in field.wanted()
    for value in (field.low, field.high):
        check_values(changed(**{name: value}))


@pytest.mark.parametrize("name", CHOSEN)
def test_an_unknown_choice_is_named_with_those_known(name):
    known = FIELDS[name].known()
    assert len(known) > 1
    assert all(isinstance(choice, str) for choice in known)
    assert refusal(name, "zzz") == f"{name}='zzz': give one of {', '.join(known)}."
    assert f"(did you mean {known[0]!r}?)" in refusal(name, known[0] + "e")
    assert refusal(name, 3).startswith(f"{name}=3: give one of")
    for choice in known:
        check_values(changed(**{name: choice}))


def test_registered_networks_are_not_refused():
    assert OPEN == ["data.dataset", "model.name", "model.attention"]
    check_values(changed(model__name="mine", model__attention="everywhere"))


def test_types():
    for name, value, wanted in (
        ("seed", True, "a whole number from 0 to 4294967295"),
        ("batch_size", 32.0, "a whole number from 1 to 1000000"),
        ("model.remat", 1, "True or False"),
        ("data.manual_dir", 3, "a text"),
        ("learning_rate", "fast", "a number from 0 to 100"),
        ("data", 3, None),
    ):
        with pytest.raises(InputError) as caught:
            check_fields(changed(**{name: value}), "c.py")
        assert str(caught.value).startswith("c.py: ")
        assert name in str(caught.value)
        assert wanted is None or str(caught.value).endswith(f"give {wanted}.")
    check_fields(changed(learning_rate=1), "c.py")


def test_a_field_that_no_run_has_is_refused():
    config = base_config()
    config.optimizer.wait_decay = 0.1
    message = r"c\.py: the field 'optimizer\.wait_decay' is unknown; did you mean optimiz"
    with pytest.raises(InputError, match=message):
        check_fields(config, "c.py")
    config = base_config()
    config.split.seeds = 3
    message = r"'split\.seeds' is unknown; its new name is cross_validation\.seeds"
    with pytest.raises(InputError, match=message):
        check_fields(config, "c.py")
    del config.split.seeds
    del config.learning_rate
    with pytest.raises(InputError, match=r"c\.py: the field learning_rate is missing"):
        check_fields(config, "c.py")
    check_types(config, "c.py", ["seed", "split.fold"])


def test_what_may_be_meant():
    assert meant_field("placement", list(FIELDS), "--config.") == (
        "; did you mean --config.data.placement?"
    )
    assert meant_field("xyzzy", ["a", "b"]) == "; fields: a, b"


def test_fields_of_older_runs_get_their_new_names_and_those_that_came_later():
    old = {"split": {"fold": 1, "seeds": 2}, "model": {"remat": True}, "seed": 0}
    new = {
        "split": {"fold": 1, "refit": False},
        "model": {"remat": True, "norm_groups": 0},
        "seed": 0,
        "cross_validation": {"seeds": 2},
    }
    assert as_of_today(old) == as_of_today(new) == new
    assert old["split"]["seeds"] == 2
    assert as_of_today({"split": "damaged"}) == {"split": "damaged"}


def another(setting):
    """A value of a setting that is not its default."""
    if setting.kind is str:
        return "parent"
    return setting.kind(setting.low if setting.low != setting.default else setting.high)


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
@pytest.mark.parametrize(("dataset", "name"), SETTINGS)
def test_every_setting_of_every_builder_can_be_set(dataset, name, monkeypatch):
    """By --config.data.settings.<name> and by --setting, down to the config that TFDS gets."""
    builder, _, base = dataset.partition("/")
    value = another(catalog.known_settings(dataset)[name])
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", flag_values=values)
    file = f"--config={ROOT}/configs/rcan.py:{dataset}"
    line = ["program", file, f"--config.data.settings.{name}={value}"]
    monkeypatch.setattr(sys, "argv", line)  # ml_collections looks there for overrides
    values(line)
    check_values(values.config)
    given = {k: v for k, v in values.config.data.settings.items() if v is not None}
    assert given == catalog.parse_data_settings(dataset, [f"{name}={value}"]) == {name: value}
    varied = REGISTERED[builder].vary(base, **given)
    assert varied.name == value if name == "name" else varied != REGISTERED[builder].vary(base)


def test_no_builder_is_forgotten():
    """Whatever a builder's module of settings defines is registered, field by field."""
    for folder in sorted((ROOT / "tfds_builders").glob("*/settings.py")):
        builder = folder.parent.name
        names = [name for name in DATASETS if name.startswith(f"{builder}/")]
        known = {key for name in names for key in catalog.known_settings(name)}
        module = sys.modules[f"tfds_builders.{builder}.settings"]
        records = [
            kind
            for name, kind in vars(module).items()
            if name.endswith("Settings") and kind.__module__ == module.__name__
        ]
        assert records == [REGISTERED[builder].kind]
        assert known == {field.name for field in dataclasses.fields(records[0])}
        assert known == set(settings_of(records[0]))


def test_a_setting_out_of_range_is_named_as_a_field():
    config = base_config("cervix_phantom/single_cell")
    config.data.settings.confounding = 7.0
    with pytest.raises(InputError, match=r"^data\.settings\.confounding=7\.0: give a number"):
        check_values(config)


def test_the_page_is_up_to_date():
    made = subprocess.run(
        [sys.executable, "-m", "cervix_jax.config.page"],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=300,
    ).stdout  # fmt: skip
    page = (ROOT / "docs/config.md").read_text(encoding="utf-8")
    assert made == page, "run python -m cervix_jax.config.page > docs/config.md"


def test_reading_a_run_does_not_import_tensorflow_datasets():
    code = "import sys, cervix_jax.config.fields; assert 'tensorflow_datasets' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=120)
