"""Explain a run: maps of which pixels its classes rest on, and what the maps are worth.

  python -m cervix_jax.explain --workdir=runs/rcan
  python -m cervix_jax.explain --workdir=runs/rcan --method=saliency,grad_cam --images=16

Writes to `<workdir>/explain`: `maps/<method>.npz` (raw, signed), `sheets/<method>.png`,
`measures.json` and `.csv`, `figure.png` (the paper's) and, where the network has gates,
`channel_attention.csv` and `.png`. What is finished is not done again. With `--dataset` it explains
images of another data set, and measures where the maps lie.
"""

from absl import flags

from cervix_jax.command.run import run_command
from cervix_jax.data.splits import SPLITS

GROUPS = {
    "The run": ["workdir", "step", "out", "overwrite", "compare"],
    "Images": [
        "split", "images", "target", "dataset", "setting", "check_counts", "manual_dir", "data_dir",
    ],
    "Maps": [
        "method", "output", "baseline", "steps", "samples", "masks", "window", "feature_map",
        "seed", "batch_size",
    ],
    "Measures": [
        "measures", "perturbed_images", "repeated_images", "curve_steps", "infidelity_samples",
        "sensitivity_samples", "nucleus_radius",
    ],
    "Pictures": ["sheet_images", "figure_images"],
}  # fmt: skip


def main(argv: list[str]) -> None:
    """Command line."""
    del argv
    # Imported here: `import cervix_jax.explain` shall not bring matplotlib, nor --help wait for it.
    from cervix_jax.explanations import workflow

    workflow.explain_run(flags.FLAGS)


def define_flags() -> None:
    """Flags of this command."""
    flags.DEFINE_string("workdir", None, "Folder of the run.")
    flags.DEFINE_string("step", "best", "Checkpoint: best, latest, or a step.")
    flags.DEFINE_string("out", "", "Folder to write to; default <workdir>/explain.")
    flags.DEFINE_bool("overwrite", False, "Make anew what is there with other settings.")
    flags.DEFINE_string("compare", "", "Folder of another run, for its half of figure.png.")

    flags.DEFINE_enum("split", "test", SPLITS, "Whose images are explained.")
    flags.DEFINE_integer("images", 64, "How many of them; 0 is all.", lower_bound=0)
    flags.DEFINE_enum("target", "predicted", ["predicted", "label"], "The class explained.")
    flags.DEFINE_string("dataset", "", "Another data set, e.g. herlev/default: maps and where "
                        "they lie.")  # fmt: skip
    flags.DEFINE_multi_string("setting", [], "Variation of --dataset as name=value.")
    flags.DEFINE_bool("check_counts", True, "Insist on the official number of images of it.")
    flags.DEFINE_string("manual_dir", "", "Where the raw data lies, if it moved since training.")
    flags.DEFINE_string("data_dir", "", "Where prepared data lies, if it moved since training.")

    flags.DEFINE_string("method", "", "Methods with commas, or all; default the quicker ones.")
    flags.DEFINE_enum("output", "logit", ["logit", "probability", "log_probability"],
                      "The score that is explained.")  # fmt: skip
    flags.DEFINE_enum("baseline", "white", ["white", "black", "mean", "blur"],
                      "Where paths start, and what covers.")  # fmt: skip
    flags.DEFINE_integer("steps", 50, "Gradients on a path.", lower_bound=1)
    flags.DEFINE_integer("samples", 50, "Of SmoothGrad and expected gradients.", lower_bound=1)
    flags.DEFINE_integer("masks", 4000, "Of RISE.", lower_bound=1)
    flags.DEFINE_integer("window", 0, "Side of the occluding square in pixels; 0 is a quarter of "
                         "the image.", lower_bound=0)  # fmt: skip
    flags.DEFINE_string("feature_map", "stage4", "What class activation maps are made of.")
    flags.DEFINE_integer("seed", 0, "Of everything random.", lower_bound=0)
    flags.DEFINE_integer("batch_size", 32, "Images at a time.", lower_bound=1)

    flags.DEFINE_bool("measures", True, "Measure the maps.")
    flags.DEFINE_integer("perturbed_images", 32, "At most so many for insertion, deletion, ROAD "
                         "and infidelity.", lower_bound=0)  # fmt: skip
    flags.DEFINE_integer("repeated_images", 8, "At most so many for sensitivity, randomised "
                         "parameters and random logit.", lower_bound=0)  # fmt: skip
    flags.DEFINE_integer("curve_steps", 25, "Of insertion and deletion.", lower_bound=1)
    flags.DEFINE_integer("infidelity_samples", 32, "Perturbations an image.", lower_bound=1)
    flags.DEFINE_integer("sensitivity_samples", 5, "Nearby images an image.", lower_bound=1)
    flags.DEFINE_float("nucleus_radius", 12.0, "Of the disc about a nucleus that is marked by its "
                       "position, in pixels of the stored image.", lower_bound=0)  # fmt: skip
    flags.DEFINE_integer("sheet_images", 24, "Images on a sheet; 0 draws none.", lower_bound=0)
    flags.DEFINE_integer("figure_images", 3, "Images of figure.png; 0 leaves it out.",
                         lower_bound=0)  # fmt: skip
    flags.mark_flag_as_required("workdir")


if __name__ == "__main__":
    define_flags()
    run_command(main, groups=GROUPS)
