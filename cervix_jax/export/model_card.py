"""The model card: Markdown with the front matter of the Hugging Face hub.

Its sections follow Mitchell et al., "Model Cards for Model Reporting", 2019 (arXiv 1810.03993), as
far as the run has the information.
"""

from typing import Any

import yaml

from cervix_jax.data.decode import views_of
from cervix_jax.data.splits import ONE_SPLIT, UNKNOWN_GROUPS
from cervix_jax.evaluate.report_file import TITLES, EvaluationReport, interval_text

WARNING = "**Research use only; not for clinical use.**"
# The hub's name for a metric, if it differs from the report's.
HUB_TYPES = {
    "macro_f1": "f1",
    "macro_auroc": "roc_auc",
    "matthews": "matthews_correlation",
    "brier": "brier_score",
    "ece_equal_width": "ece",
}
_BORDER = """\
pixels = np.asarray(image)
border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
colour = tuple(int(value) for value in np.median(border, axis=0))
"""
# Lines that compute `whole`, the square of a view.
_SQUARE = {
    "stretch": "whole = image.resize(side, Image.Resampling.BILINEAR)",
    "crop": "whole = ImageOps.fit(image, side, Image.Resampling.BILINEAR)",
    "pad": _BORDER + "whole = ImageOps.pad(image, side, Image.Resampling.BILINEAR, color=colour)",
    "scale": _BORDER
    + """\
scale = 0.25 / card["microns_per_pixel"]  # 0.25: micrometres per pixel of your image
sides = np.array(image.size)
corner = (sides - side / np.float64(scale)) / 2
corner = np.floor(corner) if scale == 1 else corner
first = np.clip(np.ceil(-corner * scale - 0.5), 0, (side[0] - 1) // 2).astype(int)
last = np.clip(np.floor((sides - corner) * scale + 0.5), first + 1, side).astype(int)
start, end = corner + first / scale, corner + last / scale
beyond = np.ceil(np.maximum(0, np.maximum(-start, end - sides))).astype(int)
grown = Image.new("RGB", tuple((sides + 2 * beyond).tolist()), colour)
grown.paste(image, tuple(beyond.tolist()))
seen = grown.resize(
    tuple((last - first).tolist()), Image.Resampling.BILINEAR,
    (*(start + beyond).tolist(), *(end + beyond).tolist()),
)
whole = Image.new("RGB", side, colour)
whole.paste(seen, tuple(first.tolist()))""",
}
_USE = """\
import json
from pathlib import Path
import jax, numpy as np, safetensors.numpy
from jax import export
from PIL import Image, ImageOps

card = json.loads(Path("card.json").read_text(encoding="utf-8"))
program = export.deserialize(bytearray(Path("model.stablehlo").read_bytes()))
weights = safetensors.numpy.load_file("weights.safetensors")
# 8 bits per channel; convert colours of an ICC profile other than sRGB with PIL.ImageCms before
image, side = ImageOps.exif_transpose(Image.open("cell.png")), (card["size"],) * 2
if image.has_transparency_data:  # transparent parts become white
    image = image.convert("RGBA")
    image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
image = image.convert("RGB")
{square}
(probabilities,) = jax.jit(program.call)(weights, squares[None])
print(dict(zip(card["class_names"], probabilities.tolist())))"""


def model_card(card: dict[str, Any]) -> str:
    """The `README.md` of an export.

    Args:
      card: contents of `card.json`.
    """
    title = f"{card['model']} on {_plain(_data_title(card))}"
    front = yaml.safe_dump(_front_matter(card, title), sort_keys=False, allow_unicode=True)
    parts = [
        f"---\n{front}---",
        f"# {title}",
        f"Classifies images of cervical cells into {len(card['class_names'])} classes: "
        f"{', '.join(map(_plain, card['class_names']))}. {WARNING}",
        f"## Use\n\n```sh\npip install jax flatbuffers safetensors pillow\n```\n\n"
        f"```python\n{_USE.format(square=_squares(card['resize']))}\n```\n\n{_use_notes(card)}",
        f"## Data\n\n{_data(card)}",
        f"## Results\n\n{_results(card)}",
        f"## Limits\n\n{_limits(card)}",
        f"## Training\n\n{_making(card)}",
    ]
    return "\n\n".join(parts) + "\n"


def _squares(resize: str) -> str:
    """Code lines that compute the program's input, `squares`, from `image`."""
    views = views_of(resize)
    if len(views) == 1:
        return f"{_SQUARE[resize]}\nsquares = np.asarray(whole)"
    parts = [f"{_SQUARE[view]}\nsquare{number} = np.asarray(whole)"
             for number, view in enumerate(views)]  # fmt: skip
    return "\n".join([*parts, "squares = np.concatenate([square0, square1], axis=1)"])


def _data_title(card: dict[str, Any]) -> str:
    """Displayed name of the data set; runs of earlier versions have its name only."""
    return str(card["data"].get("title") or card["data"]["name"])


def _data_name(card: dict[str, Any]) -> str:
    """The data set in a sentence, with the builder if its displayed name differs."""
    title, name = _data_title(card), card["data"]["name"]
    return f"`{name}`" if title == name else f"{_plain(title)} (`{name}`)"


def _front_matter(card: dict[str, Any], title: str) -> dict[str, Any]:
    front: dict[str, Any] = {
        "license": "other",
        "license_name": "to-be-chosen-by-the-publisher",
        "library_name": "jax",
        "pipeline_tag": "image-classification",
        "tags": ["cervical-cytology", "pap-smear", "medical", "stablehlo", card["model"]],
    }
    start = card["training"]["start"]
    if start.startswith("hf:"):
        front["base_model"] = start.split(":")[1]
    if card["evaluation"]:
        report = EvaluationReport.of(card["evaluation"])
        found = [
            {"type": HUB_TYPES.get(name, name), "name": title, "value": value}
            for name, title in TITLES.items()
            if (value := report.metric(name).estimate) is not None
        ]
        dataset = {"type": card["data"]["name"], "name": _data_title(card), "split": "test"}
        task = {"type": "image-classification"}
        front["model-index"] = [
            {"name": title, "results": [{"task": task, "dataset": dataset, "metrics": found}]}
        ]
    return front


def _use_notes(card: dict[str, Any]) -> str:
    return (
        f"The program takes {card['input']}. It returns {card['output']}. It includes the "
        f"normalisation ({card['normalization'].partition(',')[0]}). It runs on "
        f"{', '.join(card['platforms'])} in {card['dtype']}; the weights are an argument. It "
        f"requires jax {card['versions']['jax']} or newer; jax keeps such files readable for at "
        "least six months. `card.json` has the SHA-256 of both files."
    )


def _data(card: dict[str, Any]) -> str:
    data, split = card["data"], card["split"]
    counts = ", ".join(f"{count} for {name}" for name, count in data["examples"].items())
    protocol = f"`{split['protocol']}`"
    if split["protocol"] not in ONE_SPLIT:
        protocol += f", fold {split['fold']} of {split['folds']}, seed {split['seed']}"
    if split.get("refit"):
        protocol += "; also trained on the validation images"
    described = f"{_data_name(card)} {data['version']}: {counts}. Split protocol {protocol}. "
    if data["leakage"] is None:
        return f"{described}**Leakage: {UNKNOWN_GROUPS}.**"
    return (
        f"{described}Images are grouped by "
        f"`{data['group_feature']}`. **Leakage: {data['leakage']:.1%}** of the test images belong "
        "to a group that also has images in training or validation."
    )


def _results(card: dict[str, Any]) -> str:
    if not card["evaluation"]:
        return "These weights were not evaluated on test images."
    report = EvaluationReport.of(card["evaluation"])
    rows = [f"| {title} | {report.metric(name)} |" for name, title in TITLES.items()]
    by_group = report.metric("accuracy").interval_by_group
    note = f"{report.n} test images from {report.groups} groups."
    if by_group:
        note += f" Accuracy, 95 % interval over groups: {interval_text(by_group)}."
    if report.warning:
        note += f" Note: {report.warning}."
    classes = []
    for name in report.class_names:
        rates = [report.metric(key, name) for key in ("sensitivity", "specificity", "auroc")]
        cells = (_plain(name), rates[0].n, *rates)
        classes.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(
        [
            *[note, "", "| metric | value (95 % interval) |", "|---|---|", *rows, ""],
            *["| class | images | sensitivity | specificity | AUROC |", "|---|---|---|---|---|"],
            *classes,
        ]
    )


def _limits(card: dict[str, Any]) -> str:
    leaky = bool(card["data"]["leakage"])
    limits = [
        f"{WARNING} The model has no clinical validation.",
        f"It was trained on {_data_name(card)} alone{_resolution(card)}. Other stains, scanners, "
        "magnifications and preparations were not tested; expect lower accuracy on them.",
        "The model assigns one of its classes to any image, even to one without a cell.",
        f"Groups (`{card['data']['group_feature']}`) need not be patients: a patient's images may "
        "be on both sides of the split.",
        *(
            ["Because of the leakage, the results are too optimistic for new slides."]
            if leaky
            else []
        ),
        f"The exported program was compared with the run on {card['check']['backend']} alone: "
        f"{card['check']['images']} random images, largest difference of a probability "
        f"{card['check']['largest_difference']:.1e}.",
        "Choose a licence before publishing: the images have their own terms of use.",
    ]
    return "\n".join(f"- {limit}" for limit in limits)


def _resolution(card: dict[str, Any]) -> str:
    """Field of view and pixel size of the input, if they are constant."""
    if not card.get("field_of_view"):  # absent in older exports
        return ""
    return (
        f", in squares of {card['field_of_view']:.3g} micrometres "
        f"({card['microns_per_pixel']:.3g} micrometres per pixel)"
    )


def _making(card: dict[str, Any]) -> str:
    training, versions = card["training"], card["versions"]
    attention = f", attention `{card['attention']}`" if card["attention"] else ""
    start = training["start"] if training["start"] == "scratch" else f"`{training['start']}`"
    commit = f", commit `{training['git_commit']}`" if training["git_commit"] else ""
    return (
        f"Model `{card['model']}`{attention}, {card['weights']:,} weights, step {card['step']}. "
        f"Training started from {start}; {training['optimizer']}, learning rate "
        f"{training['learning_rate']:g}, batches of {training['batch_size']}, at most "
        f"{training['epochs']} epochs, {card['size']} pixels, seed {training['seed']}{commit}. "
        f"Exported by cervix_jax {versions['cervix_jax']} with jax {versions['jax']}."
    )


def _plain(name: str) -> str:
    """A class name that does not break a table."""
    return " ".join(name.replace("|", "\\|").split())
