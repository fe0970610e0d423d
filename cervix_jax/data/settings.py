"""Definitions of named values, and the settings that data set builders register.

A `Setting` defines the meaning and the valid values of a named value. The augmentation, the
builders and the config (`config/fields.py`) are tables of settings, from which checks, help texts
and documentation are generated.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from cervix_jax.errors import InputError, check_choice, did_you_mean

Value = int | float | str  # a bool is an int


@dataclasses.dataclass(frozen=True)
class Setting:
    """The definition of a named value: its meaning and its valid values.

    Attributes:
      default: a bool, int, float or text; all values are of its type.
      meaning: one line of plain English, without a full stop.
      low: the lowest number, included.
      high: the highest number, included.
      choices: the valid texts, or a function that returns them.
      open: whether `choices` may be incomplete; the code that uses the value then checks it.
    """

    default: Value
    meaning: str
    low: float | None = None
    high: float | None = None
    choices: Sequence[str] | Callable[[], Sequence[str]] = ()
    open: bool = False

    @property
    def kind(self) -> type[Value]:
        """The type of all values."""
        return type(self.default)

    def known(self) -> tuple[str, ...]:
        """The choices; empty if there is no list of them."""
        return tuple(self.choices() if callable(self.choices) else self.choices)

    def limits(self) -> str:
        """The range or the choices in short form, e.g. "0 to 1"; "" if there are none."""
        if self.kind is bool:
            return "True or False"
        if self.low is not None and self.high is not None:
            return f"{_digits(self.low)} to {_digits(self.high)}"
        return ", ".join(choice or "''" for choice in self.known())

    def wanted(self) -> str:
        """The valid values for an error message, e.g. "a whole number from 0 to 9"."""
        if self.kind is bool:
            return self.limits()
        if self.kind is str:
            return f"one of {self.limits()}" if self.known() else "a text"
        return f"a {'whole ' if self.kind is int else ''}number from {self.limits()}"

    def is_of_kind(self, value: object) -> bool:
        """Whether a value is of the type: True is no number, and 2.0 is no whole number."""
        boolean = isinstance(value, bool | np.bool_)
        if self.kind is bool:
            return boolean
        if self.kind is int:
            return isinstance(value, int | np.integer) and not boolean
        if self.kind is float:
            return isinstance(value, int | float | np.integer | np.floating) and not boolean
        return isinstance(value, str)

    def checked(self, name: str, value: object) -> Any:
        """Return the value, of type `kind`; accepts 2.0 as a whole number, and 0 and 1 as a bool.

        Args:
          name: name of the value in an error.
          value: the given value.

        Raises:
          InputError: the value is of another type, out of range or none of the choices.
        """
        given: Any = value
        if self.kind is int and isinstance(given, float) and given.is_integer():
            given = int(given)
        if self.kind is bool and isinstance(given, int | float) and given in (0, 1):
            given = bool(given)
        fits = self.is_of_kind(given)
        if fits and self.low is not None and self.high is not None:
            fits = self.low <= given <= self.high  # false for NaN too
        if not fits:
            raise InputError(f"{name}={value!r}: give {self.wanted()}.")
        if self.choices and not self.open:
            check_choice(name, given, self.known())
        return self.kind(given)

    def parsed(self, text: str) -> Any:
        """Parse a value from a text of the command line.

        Raises:
          ValueError: the text is no value of this type.
        """
        words = {"true": True, "false": False}
        return words.get(text.lower(), text) if self.kind is bool else self.kind(text)


def _digits(number: float) -> str:
    return f"{number:g}" if isinstance(number, float) else str(number)


def setting(
    default: Value,
    meaning: str,
    low: float | None = None,
    high: float | None = None,
    choices: Sequence[str] = (),
) -> Any:
    """Define a dataclass field with its `Setting`.

    For example:

        @dataclasses.dataclass(frozen=True)
        class CricSettings:
          side: int = setting(100, "Side of the squares in pixels", 8, 1376)

    Args:
      default: see `Setting`.
      meaning: see `Setting`.
      low: see `Setting`.
      high: see `Setting`.
      choices: see `Setting`.
    """
    described = Setting(default, meaning, low, high, choices)
    return dataclasses.field(default=default, metadata={"setting": described})


def settings_of(kind: type) -> dict[str, Setting]:
    """Return the settings of a dataclass, by name.

    Raises:
      TypeError: a field was not created by `setting`.
    """
    fields = dataclasses.fields(kind)
    plain = [field.name for field in fields if "setting" not in field.metadata]
    if plain:
        raise TypeError(f"{kind.__name__}.{plain[0]} has no limits; define it with setting().")
    return {field.name: field.metadata["setting"] for field in fields}


def check_settings(record: Any, owner: str) -> None:
    """Check every field of a frozen dataclass in its `__post_init__`, and cast it to its type.

    Args:
      record: the dataclass.
      owner: prefix of a setting's name in an error, e.g. "augment.".

    Raises:
      InputError: a value is invalid.
    """
    for name, described in settings_of(type(record)).items():
        value = described.checked(f"{owner}{name}", getattr(record, name))
        object.__setattr__(record, name, value)


def check_names(given: Mapping[str, Any], known: Sequence[str], owner: str) -> None:
    """Check that the given names are settings.

    Args:
      given: names and values.
      known: the valid names.
      owner: as for `check_settings`.

    Raises:
      InputError: a name is unknown; the message lists the valid names.
    """
    for name, value in given.items():
        if name not in known:
            raise InputError(
                f"{owner}{name}={value!r} is unknown; give one of {', '.join(known)}"
                f"{did_you_mean(str(name), known)}."
            )


Record = TypeVar("Record")


def vary_settings(
    base: Record, given: Mapping[str, Any], owner: str, without: Sequence[str] = ()
) -> tuple[Record, dict[str, Value]]:
    """Return settings that vary a base, and the values that differ from the base.

    Args:
      base: a dataclass of settings that checks itself, see `check_settings`.
      given: names and values.
      owner: as for `check_settings`.
      without: names of settings that do not apply.

    Returns:
      The settings, and the values that differ from the base, in the order of their names.

    Raises:
      InputError: a name is unknown, or a value is invalid.
    """
    record: Any = base
    names = [name for name in settings_of(type(record)) if name not in without]
    check_names(given, names, owner)
    chosen = dataclasses.replace(record, **given)
    changed = {
        name: getattr(chosen, name)
        for name in sorted(names)
        if getattr(chosen, name) != getattr(record, name)
    }
    return chosen, changed


def vary_config(
    config: Record, given: Mapping[str, Any], owner: str, without: Sequence[str] = ()
) -> Record:
    """Return a TFDS config with other settings, or the config itself if nothing differs.

    Its name lists the non-default settings, so data prepared with other settings lie elsewhere.

    Args:
      config: a dataclass with `name`, `description` and `settings`, see `vary_settings`.
      given: see `vary_settings`.
      owner: see `vary_settings`.
      without: see `vary_settings`.

    Raises:
      InputError: see `vary_settings`.
    """
    base: Any = config
    chosen, changed = vary_settings(base.settings, given, owner, without)
    if not changed:
        return config
    return dataclasses.replace(
        base,
        name="-".join([base.name, *(f"{name}_{value}" for name, value in changed.items())]),
        description=f"{base.description} Settings: {changed}.",
        settings=chosen,
    )


@dataclasses.dataclass(frozen=True)
class BuilderSettings:
    """The settings of the data sets of one builder.

    Attributes:
      kind: a dataclass, each field of which was created by `setting`.
      vary: creates a TFDS config: `vary(<name of a base config>, **settings)`.
      defaults: for each base config, the settings whose defaults differ from those of `kind`.
      without: for each base config, the settings that do not apply to it.
    """

    kind: type
    vary: Callable[..., Any]
    defaults: Mapping[str, Mapping[str, Value]] = dataclasses.field(default_factory=dict)
    without: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)

    def of_config(self, config: str) -> dict[str, Setting]:
        """Return the settings of one base config, or of all if its name is unknown."""
        own = self.defaults.get(config, {})
        return {
            name: dataclasses.replace(described, default=own.get(name, described.default))
            for name, described in settings_of(self.kind).items()
            if name not in self.without.get(config, ())
        }


REGISTERED: dict[str, BuilderSettings] = {}
"""Builder to its settings. A builder's module `settings` registers; `catalog` imports it."""


def register_settings(builder: str, settings: BuilderSettings) -> None:
    """Register the settings of a builder for configs, commands, checks and documentation.

    Raises:
      TypeError: a field of the settings was not created by `setting`.
    """
    settings_of(settings.kind)
    REGISTERED[builder] = settings
