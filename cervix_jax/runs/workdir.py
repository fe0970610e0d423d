"""The files in a run's folder besides checkpoints: config, environment and identity of the data."""

import contextlib
import json
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import ml_collections
from flax.traverse_util import flatten_dict

from cervix_jax import __version__, distributed
from cervix_jax.config.fields import FIELDS, as_of_today
from cervix_jax.data.fingerprints import Fingerprints, load_digests
from cervix_jax.data.identity import DataIdentity
from cervix_jax.errors import InputError
from cervix_jax.files.atomic import write_json
from cervix_jax.runs.damage import DamagedCheckpointError

if TYPE_CHECKING:  # it imports TensorFlow Datasets, which takes a second
    from cervix_jax.data.dataset import Dataset

# Fields that may change between two starts of one run, because no result depends on them.
FREE_FIELDS = ("data.manual_dir", "data.data_dir", "data.placement", "checkpoint.every_steps")
FINGERPRINTS_FILE = "fingerprints.npz"
PACKAGES = (
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "grain",
    "tensorflow-datasets",
    "clu",
    "numpy",
    "ml-collections",
)


def flatten(config: dict[str, Any]) -> dict[str, Any]:
    """Flatten a nested dict to {"outer.inner": value}, with lists for tuples as in JSON."""
    flat = flatten_dict(config, sep=".")
    return {name: list(v) if isinstance(v, tuple) else v for name, v in flat.items()}


def read_config(workdir: Path) -> ml_collections.ConfigDict:
    """Read the config of a run.

    Raises:
      InputError: `workdir` has no readable config.json.
    """
    path = workdir / "config.json"
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(fields, dict):
            raise ValueError("it contains no fields")
        return ml_collections.ConfigDict(as_of_today(fields))
    except FileNotFoundError as error:
        raise InputError(
            f"{path}: not found, so {workdir} is not the folder of a run; give the --workdir that "
            "training wrote to."
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read ({error}); restore it from a backup.") from error


def config_text(workdir: Path) -> str:
    """Return the text of config.json, or "absent"; processes compare it to check their folder."""
    path = workdir / "config.json"
    return path.read_text(encoding="utf-8") if path.exists() else "absent"


def claim(workdir: Path, config: ml_collections.ConfigDict) -> None:
    """Assign `workdir` to this run: write config.json, or check that it belongs to the same run.

    With several processes only the first writes.

    Raises:
      InputError: the folder holds a run with another config, or cannot be written to.
    """
    ours = config.to_dict()
    if (workdir / "config.json").exists():
        before, now = flatten(read_config(workdir).to_dict()), flatten(ours)
        for name in now.keys() - before.keys():  # a field added later behaved as its default
            if name in FIELDS and now[name] == FIELDS[name].default:
                before[name] = now[name]
        differing = [
            f"{name} is {before.get(name, 'absent')!r} there and {now.get(name, 'absent')!r} here"
            for name in sorted(before.keys() | now.keys())
            if name not in FREE_FIELDS and before.get(name) != now.get(name)
        ]
        if differing:
            more = f" (and {len(differing) - 3} more)" if len(differing) > 3 else ""
            raise InputError(
                f"--workdir={workdir} holds a run with another config: "
                f"{'; '.join(differing[:3])}{more}. Give the same config, or another --workdir."
            )
    elif (workdir / "checkpoints").exists() and any((workdir / "checkpoints").iterdir()):
        raise InputError(
            f"--workdir={workdir} holds checkpoints but no config.json, so they may be another "
            "run's; give another --workdir."
        )
    if distributed.is_main_process():
        write_json(workdir / "config.json", ours)


def write_environment(
    workdir: Path, dataset: dict[str, Any], placement: dict[str, Any] | None = None
) -> None:
    """Write env.json: versions, devices, git commit and data, to reproduce the run.

    Args:
      workdir: the run's folder.
      dataset: description of the data set by `ExperimentData.describe`.
      placement: storage of the decoded images: `kind` and `decoded_bytes` of
        `data.placement.Placement`.
    """
    if not distributed.is_main_process():
        return
    write_json(
        workdir / "env.json",
        {
            "python": platform.python_version(),
            "platform": platform.platform(),
            "processor": _processor(),
            "versions": {"cervix_jax": __version__} | {p: metadata.version(p) for p in PACKAGES},
            "devices": [str(device.device_kind) for device in jax.devices()],
            "backend": jax.default_backend(),
            "processes": jax.process_count(),
            "git_commit": _git_commit(),
            "dataset": dataset,
            "placement": placement,
        },
    )


def dataset_item(summary: dict[str, Any], identity: DataIdentity) -> dict[str, Any]:
    """Return a checkpoint's record of its data: a summary, and every example under `examples`."""
    return summary | {"examples": identity.to_json()}


def split_dataset_item(
    item: dict[str, Any], path: Path
) -> tuple[dict[str, Any], DataIdentity | None]:
    """Return the summary and the identity in the value of `dataset_item`.

    Runs of earlier versions stored only the numbers of examples, without an identity.

    Args:
      item: the item of the checkpoint.
      path: file of the item, for the message.

    Raises:
      DamagedCheckpointError: the item has another form.
    """
    try:
        identity = DataIdentity.from_json(item.get("examples") or {})
    except (ValueError, LookupError, TypeError) as error:
        raise DamagedCheckpointError(
            f"{path}: was changed after it was written ({error})"
        ) from error
    return (item if identity is None else item | {"examples": identity.counts()}), identity


def write_fingerprints(workdir: Path, dataset: "Dataset") -> None:
    """Store the fingerprints of a run's examples, to find copies of them in other data.

    A resumed run has stored them already, and then only the digests are read. With several
    processes only the first writes.
    """
    if not distributed.is_main_process():
        return
    path = workdir / FINGERPRINTS_FILE
    with contextlib.suppress(FileNotFoundError, InputError):  # a damaged file is written again
        if load_digests(path) == dataset.digests:
            return
    dataset.fingerprints().save(path)


def read_fingerprints(workdir: Path, identity: DataIdentity) -> Fingerprints | None:
    """Read the fingerprints stored by `write_fingerprints`; None if there are none.

    Raises:
      InputError: the file is damaged.
    """
    try:
        found = Fingerprints.load(workdir / FINGERPRINTS_FILE)
    except FileNotFoundError:
        return None
    return found if found.digests == identity.digests else None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]} x{len(names)}" if names else platform.processor()


def _git_commit() -> str | None:
    # Only if the package runs from its own checkout: another repository's commit is irrelevant.
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    try:
        asked = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40"],
            cwd=root, capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return asked.stdout.strip()
