"""Match the classes of a data set to the classes of a run, by name and never by position."""

import shlex
from collections.abc import Mapping, Sequence

import numpy as np

from cervix_jax.errors import InputError
from cervix_jax.files.paths import nfc

ClassMap = Mapping[str, str | Sequence[str]]
"""Class of the run to its name, or its names, in the data set."""


def match_classes(
    run_classes: Sequence[str],
    data_classes: Sequence[str],
    class_map: ClassMap | None = None,
) -> np.ndarray:
    """Return the label in the run for every class of a data set.

        match_classes(("HSIL", "NILM"), ("NILM", "high"), {"HSIL": "high"})     # array([1, 0])

    Names are compared in Unicode form NFC, since some file systems store folder names in another
    form. A data set may lack classes of the run; it must not have classes that the run lacks.

    Args:
      run_classes: names in the order of the run's labels.
      data_classes: names in the order of the data set's labels.
      class_map: maps a run's class name to the data set's name for it, or to several names, which
        all become the run's class. The map takes precedence over equal names.

    Returns:
      int64 [number of data classes]: `match[labels]` are the labels in the run.

    Raises:
      InputError: the run lacks a class of the data set, or `class_map` names an unknown class;
        the message lists both sets of classes.
    """
    own = {nfc(name): label for label, name in enumerate(run_classes)}
    theirs = [nfc(name) for name in data_classes]
    both = (
        f"the run's classes are {', '.join(run_classes)}, those of the data set "
        f"{', '.join(data_classes)}"
    )
    mapped: dict[str, int] = {}
    for run_name, given in (class_map or {}).items():
        names = [given] if isinstance(given, str) else list(given)
        if nfc(run_name) not in own:
            raise InputError(f"{_flag(run_name, names[0])}: {run_name!r} is not a class; {both}.")
        for name in names:
            if nfc(name) not in theirs:
                raise InputError(f"{_flag(run_name, name)}: {name!r} is not a class; {both}.")
            label = own[nfc(run_name)]
            if mapped.setdefault(nfc(name), label) != label:
                raise InputError(
                    f"{_flag(run_name, name)}: {name!r} is already mapped to "
                    f"{run_classes[mapped[nfc(name)]]!r}; map each class to one class only."
                )
    found = {name: mapped.get(name, own.get(name)) for name in theirs}
    unknown = [name for name in data_classes if found[nfc(name)] is None]
    if unknown:
        left = [name for label, name in enumerate(run_classes) if label not in found.values()]
        # One extra class is usually a new class; one replaced class is usually a new name.
        likely = left if len(left) == len(unknown) else [(left or run_classes)[0]] * len(unknown)
        hint = " ".join(_flag(a, b) for a, b in zip(likely, unknown, strict=True))
        new = "is" if len(unknown) == 1 else "are"
        how = (
            f"If only the {'name differs' if len(unknown) == 1 else 'names differ'}, map the "
            f"{'class' if len(unknown) == 1 else 'classes'}, as in {hint}."
            if left
            else f"Leave {'its' if len(unknown) == 1 else 'their'} images out, or map them to a "
            f"class of the run, as in {hint}."
        )
        raise InputError(f"{both}; {', '.join(unknown)} {new} unknown to the run. {how}")
    return np.asarray([found[name] for name in theirs], np.int64)


def absent_classes(
    run_classes: Sequence[str],
    data_classes: Sequence[str],
    class_map: ClassMap | None = None,
) -> tuple[str, ...]:
    """Return the run's classes that a data set lacks; arguments and errors as `match_classes`."""
    found = set(match_classes(run_classes, data_classes, class_map).tolist())
    return tuple(name for label, name in enumerate(run_classes) if label not in found)


def parse_class_map(given: Sequence[str], run_classes: Sequence[str]) -> dict[str, list[str]]:
    """Parse the `<run's name>=<data set's name>` texts of a command line.

    Names may contain "=": the run's class names determine where the left name ends.

    Args:
      given: the texts.
      run_classes: the classes of the run.

    Returns:
      The mapping for `match_classes`.

    Raises:
      InputError: a text has another form, or does not begin with a class of the run.
    """
    own = {nfc(name): name for name in run_classes}
    found: dict[str, list[str]] = {}
    for text in given:
        parts = nfc(text).split("=")
        cuts = [cut for cut in range(1, len(parts)) if "=".join(parts[:cut]).strip() in own]
        if not cuts or not "=".join(parts[cuts[-1] :]).strip():
            raise InputError(
                f"--class_map={text}: give the run's name, =, and the name in the data set; the "
                f"run's classes are {', '.join(run_classes)}."
            )
        name = own["=".join(parts[: cuts[-1]]).strip()]
        found.setdefault(name, []).append("=".join(parts[cuts[-1] :]).strip())
    return found


def _flag(run_name: str, name: str) -> str:
    return f"--class_map={shlex.quote(f'{run_name}={name}')}"
