"""Prepare a data set for training: read its files, check them and convert them.

  python -m cervix_jax.prepare --dataset=sipakmed/single_cell --manual_dir=/path/to/SIPaKMeD
  python -m cervix_jax.prepare --dataset=sipakmed/single_cell --instructions

Training also prepares a data set on first use.
"""

import inspect
import time
from collections.abc import Sequence

from absl import flags

from cervix_jax.command.flags import dataset_flags
from cervix_jax.command.run import run_command
from cervix_jax.data import catalog
from cervix_jax.data.splits import UNKNOWN_GROUPS
from cervix_jax.errors import InputError


def main(argv: Sequence[str]) -> None:
    """Prepare the data set that the flags name and print its classes and groups.

    Raises:
      InputError: a flag or the data are invalid.
    """
    del argv
    args = flags.FLAGS
    name = args.dataset
    if not name:
        raise InputError("--dataset is missing; give e.g. --dataset=sipakmed/single_cell.")
    builder_cls = catalog.find_builder(name)
    if args.instructions:
        text = builder_cls.MANUAL_DOWNLOAD_INSTRUCTIONS
        print(inspect.cleandoc(text) if text else f"{name} requires no files.")
        return
    start = time.monotonic()
    dataset = catalog.load(
        name,
        manual_dir=args.manual_dir,
        data_dir=args.data_dir,
        check_counts=args.check_counts,
        settings=catalog.parse_data_settings(name, args.setting),
        skip_damaged=args.skip_damaged,
    )
    print(_summary(dataset, time.monotonic() - start))


def _summary(dataset: catalog.Dataset, seconds: float) -> str:
    counts, groups = dataset.class_counts, dataset.group_counts
    width = max(len("class"), *(len(name) for name in counts))
    lines = [
        f"{dataset.title} {dataset.version}: {dataset.num_examples} examples, "
        f"{len(set(dataset.groups))} groups ({dataset.group_feature}), {seconds:.1f} s",
        f"  {'class':<{width}}  examples  groups",
    ]
    lines += [f"  {name:<{width}}  {counts[name]:8d}  {groups[name]:6d}" for name in counts]
    if not dataset.groups_known:
        lines.append(f"  groups (patient, slide or field of each image): {UNKNOWN_GROUPS}")
    return "\n".join([*lines, f"in {dataset.path}"])


def define_flags() -> None:
    """Define the flags of this command."""
    dataset_flags(
        "Data set: sipakmed/single_cell, sipakmed/multi_cell, sipakmed/multi_cell_masked, "
        "herlev/default, cric/cell, cric/field, cervix_phantom/single_cell, ...; docs/data.md "
        "describes them; required."
    )
    flags.DEFINE_string("manual_dir", "", "Folder with the downloaded and unpacked files.")
    flags.DEFINE_string(
        "data_dir", "", "Folder for prepared data sets; default ~/tensorflow_datasets."
    )
    flags.DEFINE_boolean(
        "skip_damaged",
        False,
        "Leave out unreadable files. Otherwise the command lists all unreadable files and stops.",
    )
    flags.DEFINE_boolean(
        "instructions",
        False,
        "Only print the required files and their sources.",
    )


if __name__ == "__main__":
    define_flags()
    run_command(main, devices=False)
