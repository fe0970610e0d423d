"""Contents of an export's `card.json`, for programs and for the model card."""

from importlib import metadata
from pathlib import Path
from typing import Any

from cervix_jax import __version__
from cervix_jax.data.decode import views_of
from cervix_jax.evaluate.report_file import EvaluationReport
from cervix_jax.export.program import PLATFORMS
from cervix_jax.files.atomic import read_json
from cervix_jax.runs.run import Run

FORMAT = "cervix_jax export 1"
PACKAGES = ("jax", "jaxlib", "flax", "numpy", "safetensors")
RESIZE_RULES = {
    "stretch": "scaled to the square; the aspect ratio changes",
    "crop": "shorter side scaled to fit, centre cut out",
    "pad": "longer side scaled to fit, the rest filled with the median colour of the border",
    "scale": "scaled about its centre from its own micrometres per pixel to microns_per_pixel, "
    "then cut, or filled with the median colour of the border",
}
# Entries of evaluate/test.json that the card repeats.
_KEPT = (
    "n", "accuracy", "accuracy_interval", "class_names", "confusion_matrix", "groups", "dataset",
    "split", "protocol", "fold", "folds", "refit", "leakage", "leakage_train", "intervals",
    "metrics", "per_class",
)  # fmt: skip


def make_card(run: Run, workdir: str | Path | None, num_weights: int) -> dict[str, Any]:
    """Make `card.json`, except for the checksums and the check.

    Args:
      run: the exported run.
      workdir: its folder, to read its evaluation and environment; None leaves them out.
      num_weights: total number of weights, batch statistics included.

    Returns:
      JSON-ready dict without paths of this machine.

    Raises:
      InputError: `evaluate/test.json` or `env.json` exists and cannot be read, or an earlier
        version wrote the evaluation.
    """
    config, (height, width, _) = run.config, run.picture_shape
    known = Path(workdir) if workdir else None
    environment = (read_json(known / "env.json") if known else None) or {}
    versions = {"cervix_jax": __version__} | {name: metadata.version(name) for name in PACKAGES}
    return {
        "format": FORMAT,
        "model": config.model.name,
        "attention": config.model.attention.replace("none", ""),
        "step": run.step,
        "weights": num_weights,
        "class_names": list(run.class_names),
        "size": height,
        "width": width,
        "resize": config.data.resize,
        # For two squares, the value of the second; the first has none.
        "microns_per_pixel": run.microns_per_pixel or config.data.microns_per_pixel or None,
        "field_of_view": run.field_of_view,
        "input": f"uint8 [b, {height}, {width}, 3], RGB, 0 to 255, for any b of at least 1; "
        f"upright, resized outside of the program with Pillow's antialiased bilinear filter: "
        f"{_resize_rule(config.data.resize)}",
        "output": f"float32 [b, {len(run.class_names)}], probabilities in the order of class_names",
        "normalization": f"{config.model.normalization}, inside the program",
        "dtype": config.model.dtype,
        "platforms": list(PLATFORMS),
        "versions": versions,
        "data": run.dataset,
        "split": config.split.to_dict(),
        "training": {
            "start": _start(config.model.init_from),
            "epochs": config.num_epochs,
            "batch_size": config.batch_size,
            "optimizer": config.optimizer.name,
            "learning_rate": config.learning_rate,
            "ema_decay": config.ema_decay,
            "seed": config.seed,
            "git_commit": environment.get("git_commit"),
            "versions": environment.get("versions", {}),
        },
        "evaluation": _evaluation(known, run.step) if known else None,
    }


def _resize_rule(resize: str) -> str:
    """The rule that turns an image into the program's input, in words."""
    rules = [RESIZE_RULES[view] for view in views_of(resize)]
    if len(rules) == 1:
        return rules[0]
    return f"two squares side by side; the left one: {rules[0]}; the right one: {rules[1]}"


def _start(init_from: str) -> str:
    """Initial weights, without folders of this machine."""
    if not init_from:
        return "scratch"
    return init_from if init_from.startswith(("hf:", "package:")) else Path(init_from).name


def _evaluation(workdir: Path, step: int) -> dict[str, Any] | None:
    """The test evaluation of the same weights, or None."""
    path = workdir / "evaluate" / "test.json"
    values = read_json(path)
    if values is None:
        return None
    report = EvaluationReport.of(values, path)
    if report.step != step:
        return None
    report.metric("accuracy")  # raises if an earlier version wrote the evaluation
    return {name: values.get(name) for name in _KEPT}
