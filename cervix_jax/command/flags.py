"""The flags by which commands find a run or a data set: one text and one default each."""

from absl import flags

from cervix_jax import progress

flags.disclaim_key_flags()  # what is defined here belongs to the command that asked for it

RUN_FLAGS = {
    "workdir": ("", "Folder of the run."),
    "step": ("best", "Checkpoint: best, latest, or a step."),
    "manual_dir": ("", "Folder of the raw files; default where the run's config says."),
    "data_dir": ("", "Folder of prepared data; default where the run's config says."),
}
"""Name to default and help."""


def run_flags(*names: str, required: bool = False) -> None:
    """Define `--workdir`, `--step`, `--manual_dir` and `--data_dir`.

      run_flags(required=True)         # all four; a command line without --workdir is bad input
      run_flags("workdir", "step")     # for a command that reads no data

    Args:
      *names: which of them; all if none is named.
      required: whether the command can do nothing without `--workdir`.
    """
    for name in names or RUN_FLAGS:
        default, text = RUN_FLAGS[name]
        flags.DEFINE_string(name, default, text)
    if required:
        flags.register_validator(
            "workdir", bool, "give the folder of a trained run, e.g. --workdir=runs/rcan"
        )


def progress_flag() -> None:
    """Define `--progress`, which every command has; `run_command` does it."""
    if "progress" not in flags.FLAGS:
        flags.DEFINE_enum(
            "progress",
            "bar",
            progress.MODES,
            "Progress on standard error: bars, JSON events (one a line), or none.",
        )


def class_map_flag() -> None:
    """Define `--class_map`; `cervix_jax.data.class_map.parse_class_map` reads it."""
    flags.DEFINE_multi_string(
        "class_map",
        [],
        "Class that has another name in the data, as <name in the run>=<name in the data>.",
    )


def dataset_flags(text: str, name: str = "dataset") -> None:
    """Define `--dataset`, `--setting` and `--check_counts`, for a command that opens a data set.

    Args:
      text: help of `--dataset`.
      name: what to call that flag.
    """
    flags.DEFINE_string(name, "", text)
    flags.DEFINE_multi_string(
        "setting", [], f"Variation of --{name} as name=value, e.g. confounding=1."
    )
    flags.DEFINE_bool("check_counts", True, "Insist on its official number of images.")
