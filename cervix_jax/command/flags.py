"""Flags that several commands share to select a run or a data set."""

from absl import flags

from cervix_jax import progress

flags.disclaim_key_flags()  # flags defined here belong to the command that calls the function

RUN_FLAGS = {
    "workdir": ("", "Folder of the run."),
    "step": (
        "best",
        "Checkpoint whose weights are loaded: best on the validation images, latest, or a step "
        "number.",
    ),
    "manual_dir": (
        "",
        "Folder with the raw files; default as in the run's config, if there is a run.",
    ),
    "data_dir": ("", "Folder with prepared data; default as in the run's config."),
}
"""Flag to (default, help)."""


def run_flags(*names: str, required: bool = False) -> None:
    """Define `--workdir`, `--step`, `--manual_dir` and `--data_dir`.

        run_flags(required=True)         # all four; --workdir must be given
        run_flags("workdir", "step")     # for a command that reads no data

    Args:
      *names: the flags to define; all four if empty.
      required: whether `--workdir` must be given.
    """
    for name in names or RUN_FLAGS:
        default, text = RUN_FLAGS[name]
        flags.DEFINE_string(name, default, text)
    if required:
        flags.register_validator(
            "workdir", bool, "the folder of a trained run is missing; give e.g. --workdir=runs/rcan"
        )


def progress_flag() -> None:
    """Define `--progress`, which every command has; `run_command` does it."""
    if "progress" not in flags.FLAGS:
        flags.DEFINE_enum(
            "progress",
            "bar",
            progress.MODES,
            "Progress on standard error: bars, JSON events (one per line), or none.",
        )


def class_map_flag() -> None:
    """Define `--class_map`; `cervix_jax.data.class_map.parse_class_map` reads it."""
    flags.DEFINE_multi_string(
        "class_map",
        [],
        "Class with a different name in the data, as <name in the run>=<name in the data>.",
    )


def dataset_flags(text: str, name: str = "dataset") -> None:
    """Define `--dataset`, `--setting` and `--check_counts`, for a command that opens a data set.

    Args:
      text: help of `--dataset`.
      name: name of the flag in place of "dataset".
    """
    flags.DEFINE_string(name, "", text)
    flags.DEFINE_multi_string(
        "setting",
        [],
        f"Setting of the data set that --{name} names, as <name>=<value>, e.g. confounding=1 for "
        "cervix_phantom; docs/config.md lists all.",
    )
    flags.DEFINE_bool(
        "check_counts",
        True,
        "Require the official number of images in every class of the data set.",
    )
