"""The runs behind the table: their selection and order, and the runs that are not possible."""

import ast
import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ml_collections

from cervix_jax import progress
from cervix_jax.data import catalog
from cervix_jax.data.divide import split_dataset
from cervix_jax.errors import InputError
from cervix_jax.files.lock import InUseError
from cervix_jax.reproduce.rows import ROWS, Row, find_row, row_config
from cervix_jax.runs import workdir
from cervix_jax.training.cross_validation import cross_validate, folder_of, members


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of the user for all runs.

    Attributes:
      out: output folder of RESULTS.md and the runs.
      manual_dirs: builder name to the folder of its raw files; "" is the default place of TFDS.
      densenet121: initial weights of DenseNet-121 and RCAN (`model.init_from`); "" for none.
      seeds: number of seeds of each run.
      overrides: `<field>=<value>` of the config for all rows, or `<scope>:<field>=<value>` for one
        row, for a data set or its builder (`cric/field`, `cric`), or for all rows of the paper
        (`paper`).
      data_dir: folder of prepared data; "" is the default of TFDS.
    """

    out: Path
    manual_dirs: dict[str, str]
    densenet121: str = ""
    seeds: int = 1
    overrides: tuple[str, ...] = ()
    data_dir: str = ""


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One row under one split protocol: all folds, all seeds.

    Attributes:
      row: row of the table.
      protocol: split protocol.
      config: config for `cross_validate`.
      folder: workdir of all its runs.
      init: initial weights, in words.
    """

    row: Row
    protocol: str
    config: ml_collections.ConfigDict
    folder: Path
    init: str

    @property
    def name(self) -> str:
        """Name in messages."""
        return f"{self.row.id}, {self.protocol}"

    @property
    def is_finished(self) -> bool:
        """Whether every fold of every seed is evaluated."""
        return all((run / "evaluate" / "test.json").is_file() for run in self.runs)

    @property
    def runs(self) -> list[Path]:
        """Folders of its runs."""
        return [folder_of(self.folder, member) for member in members(self.config)]


def plan(only: Sequence[str], protocols: Sequence[str], settings: Settings) -> list[Experiment]:
    """The experiments of some rows; a row whose weights another needs comes before it.

    Args:
      only: ids of rows, or `<id>/<protocol>`, which `protocols` does not restrict.
      protocols: split protocols; a row uses those that it has.
      settings: settings for all.

    Raises:
      InputError: a row, a protocol or an override is unknown.
    """
    for item in settings.overrides:
        scope = item.partition("=")[0].rpartition(":")[0]
        if not any(scope in row.scopes for row in ROWS):
            raise InputError(
                f"--set={item}: there is no such row or data set; choose from paper, "
                f"{', '.join(row.id for row in ROWS)}."
            )
    experiments: list[Experiment] = []
    for name in only:
        row_id, _, protocol = name.partition("/")
        row = find_row(row_id)
        if protocol and protocol not in row.protocols:
            raise InputError(
                f"--only={name}: {row_id} has the protocols {', '.join(row.protocols)}."
            )
        for own in row.protocols:
            if own == protocol or (not protocol and own in protocols):
                experiments += _with_sources(row, own, settings)
    unique = {experiment.folder: experiment for experiment in experiments}
    return list(unique.values())


def _with_sources(row: Row, protocol: str, settings: Settings) -> list[Experiment]:
    config = row_config(row)
    config.split.protocol, config.cross_validation.seeds = protocol, settings.seeds
    builder = config.data.dataset.partition("/")[0]
    config.data.manual_dir = settings.manual_dirs.get(builder, "")
    config.data.data_dir = settings.data_dir
    before: list[Experiment] = []
    init = "ImageNet" if config.model.init_from else "scratch"
    if row.init not in ("scratch", "imagenet"):
        before = _with_sources(find_row(row.init), "paper", settings)
        config.model.init_from = str(before[-1].runs[0])
        init = row.init
    elif row.init == "imagenet" and config.model.name in ("densenet121", "rcan"):
        config.model.init_from = settings.densenet121
        init = "ImageNet" if settings.densenet121 else "scratch, as no weights were given"
    _override(config, row, settings.overrides)
    folder = settings.out / "runs" / row.id / protocol
    return [*before, Experiment(row, protocol, config, folder, init)]


def _override(config: ml_collections.ConfigDict, row: Row, overrides: Sequence[str]) -> None:
    for item in overrides:
        field, equals, text = item.partition("=")
        scope, _, field = field.rpartition(":")
        if scope not in row.scopes:
            continue
        try:
            if not equals:
                raise ValueError("write <field>=<value>")
            before: Any = config
            for part in field.split("."):
                before = before[part]
            value = text if isinstance(before, str) else ast.literal_eval(text)
            config.update_from_flattened_dict({field: value})
        except (KeyError, TypeError, ValueError, SyntaxError) as error:
            reason = " ".join(str(error).split())
            raise InputError(
                f"--set={item}: cannot be set ({reason}); give a field of the config, e.g. "
                "--set=num_epochs=10 or --set=augment.hue=0.1."
            ) from error


def left_out(experiments: Sequence[Experiment]) -> dict[Path, str]:
    """Experiments that are not finished and cannot be run: folder to reason."""
    found: dict[Path, str] = {}
    for experiment in experiments:
        source = Path(experiment.config.model.init_from or ".")
        if experiment.is_finished:
            continue
        if any(source.is_relative_to(folder) for folder in found):
            found[experiment.folder] = (
                f"it needs the weights of {experiment.init}, which is left out"
            )
        elif reason := missing_data(experiment):
            found[experiment.folder] = reason
    return found


def missing_data(experiment: Experiment) -> str:
    """Why the data of an experiment are not available; "" if they are."""
    config = experiment.config
    dataset = _load(
        config.data.dataset,
        config.data.manual_dir,
        config.data.data_dir,
        config.data.check_counts,
    )
    if isinstance(dataset, str):
        return dataset
    try:
        split_dataset(dataset, protocol=experiment.protocol, folds=config.split.folds)
    except InputError as error:
        return str(error)
    return ""


@functools.lru_cache
def _load(
    name: str, manual_dir: str | None, data_dir: str | None, check_counts: bool
) -> catalog.Dataset | str:
    """A data set, or the reason why it is not available."""
    try:
        return catalog.load(
            name, manual_dir=manual_dir, data_dir=data_dir, check_counts=check_counts
        )
    except InputError as error:
        return str(error)


def _require_same_config(experiment: Experiment) -> None:
    """Check that finished runs used this config.

    Raises:
      InputError: they used another config.
    """
    for member, folder in zip(members(experiment.config), experiment.runs, strict=True):
        workdir.claim(folder, member)


def run_all(
    experiments: Sequence[Experiment],
    log: Callable[[str], None],
    after_each: Callable[[Experiment], None],
) -> None:
    """Run the unfinished experiments, one after the other.

    Several processes may get the same experiments: each runs those that no other is running.

    Args:
      experiments: experiments in order, without those of `left_out`.
      log: called with each line of progress.
      after_each: called with every finished experiment, including those finished by earlier calls.

    Raises:
      Preempted, NonFiniteLossError, InputError: as `cross_validate`; the same call continues.
    """
    for experiment in experiments:
        if experiment.is_finished:
            _require_same_config(experiment)
            after_each(experiment)
    todo = [experiment for experiment in experiments if not experiment.is_finished]
    done, since = 0.0, time.monotonic()
    total = sum(_work(experiment) for experiment in todo)
    elsewhere: list[Path] = []
    for number, experiment in enumerate(progress.counted(todo, "experiments", "experiment"), 1):
        elapsed = time.monotonic() - since
        left = f"; about {elapsed / done * (total - done) / 60:.0f} min left" if done else ""
        source = Path(experiment.config.model.init_from or ".")
        try:
            if any(source.is_relative_to(folder) for folder in elsewhere):
                raise InUseError(
                    f"it needs the weights of {experiment.init}, which is not finished"
                )
            log(f"{number} of {len(todo)}: {experiment.name}{left}")
            cross_validate(experiment.config, experiment.folder)
        except InUseError as error:
            log(f"{experiment.name}: not run by this process: {error}")
            elsewhere.append(experiment.folder)
            total -= _work(experiment)
            continue
        done += _work(experiment)
        after_each(experiment)


def _work(experiment: Experiment) -> float:
    """Estimated work of an experiment: epochs times pixels times runs."""
    config = experiment.config
    return config.num_epochs * config.image_size**2 * len(members(config))
