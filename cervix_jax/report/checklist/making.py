"""Facts about data, model and training; "" stands for a fact that the run does not store."""

from collections.abc import Callable, Mapping
from pathlib import Path

from cervix_jax.data.splits import ONE_SPLIT
from cervix_jax.report.checklist.findings import classes_tested
from cervix_jax.report.checklist.study import Study


def _source(study: Study) -> str:
    data = study.environment.get("dataset", {})
    if not (version := data.get("version")):
        return ""
    title, name = study.report.title, study.report.dataset
    text = f"{title if title == name else f'{title} ({name})'}, version {version}"
    counts = data.get("examples")
    text += f", {sum(counts.values())} images" if counts else ""
    drawn = " The images are synthetic and show no patient."
    return f"{text}.{drawn if study.report.dataset.startswith('cervix_phantom/') else ''}"


def _sizes(study: Study) -> str:
    report = study.report
    counts = study.environment.get("dataset", {}).get("examples")
    if not counts:
        return ""
    parts = ", ".join(f"{number} {name}" for name, number in counts.items())
    groups = "" if report.leakage is None else f" of {report.groups} groups"
    return f"Images by partition: {parts}. Evaluated: {report.n} images{groups} ({report.split})."


def _task(study: Study) -> str:
    names = study.report.class_names
    return f"Classification of images into {len(names)} classes: {', '.join(names)}."


def _use(study: Study) -> str:
    del study
    return "Research use only; not for clinical use."


def _preprocessing(study: Study) -> str:
    config = study.config
    size = config.get("image_size")
    resize, constants = config.get("data.resize"), config.get("model.normalization")
    if not (size and resize and constants):
        return ""
    return (
        f"Images are brought to {size} x {size} pixels (data.resize={resize}) and normalised "
        f"(model.normalization={constants})."
    )


def _resolution(study: Study) -> str:
    data = study.environment.get("dataset", {})
    if data.get("microns_per_pixel") is None:
        return ""
    text = f"{data['microns_per_pixel']:g} micrometres per pixel"
    if data.get("image_size"):
        text += f", {' x '.join(map(str, data['image_size']))} pixels"
    return f"{text}."


def _classes(study: Study) -> str:
    names = ", ".join(study.report.class_names)
    return f"The reference standard is the label that the data set stores, one of {names}."


def _split(study: Study) -> str:
    report = study.report
    if report.protocol is None:
        return ""
    text = f"Split protocol {report.protocol}"
    if report.protocol not in ONE_SPLIT:
        text += f", fold {report.fold} of {report.folds}"
    text += f", split seed {study.config.get('split.seed', 'unknown')}."
    return text + (" The validation images were also used for training." if report.refit else "")


def _disjoint(study: Study) -> str:
    report = study.report
    if report.leakage is None:
        return ""
    feature = study.environment.get("dataset", {}).get("group_feature", "group")
    return (
        f"Level: {feature}. {report.leakage:.1%} of the evaluated images come from a group that "
        "is also in training or validation."
    )


def _architecture(study: Study) -> str:
    config = study.config
    attention = config.get("model.attention") or "none"
    return (
        f"Network {config.get('model.name')}, channel attention {attention.replace('_', ' ')}, "
        f"dropout {config.get('model.dropout')}, input {config.get('image_size')} x "
        f"{config.get('image_size')} pixels, {len(study.report.class_names)} outputs."
    )


def _output(study: Study) -> str:
    return (
        f"A probability for each of {len(study.report.class_names)} classes (softmax of the "
        "logits); the predicted class is the most probable one."
    )


def _software(study: Study) -> str:
    versions = study.environment.get("versions")
    if not versions:
        return ""
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    python = study.environment.get("python", "unknown")
    devices = ", ".join(study.environment.get("devices", [])) or "unknown"
    return f"Python {python}; {listed}. Devices: {devices}."


def _initialisation(study: Study) -> str:
    start = study.config.get("model.init_from")
    if start is None:
        return ""
    if start and not start.startswith(("hf:", "package:")):
        start = Path(start).name
    return f"Weights of {start}." if start else f"Random weights, seed {study.config.get('seed')}."


_TRAINING = (
    "optimizer.name", "learning_rate", "optimizer.schedule", "optimizer.warmup_epochs",
    "optimizer.weight_decay", "optimizer.clip_norm", "batch_size", "num_epochs",
    "early_stopping_epochs", "ema_decay", "loss.label_smoothing", "loss.class_weights",
    "optimizer.freeze_epochs", "optimizer.layer_decay",
)  # fmt: skip


def _training(study: Study) -> str:
    known = [name for name in _TRAINING if name in study.config]
    return "; ".join(f"{name} {study.config[name]}" for name in known) + "." if known else ""


def _augmentation(study: Study) -> str:
    chosen = {
        name.removeprefix("augment."): value
        for name, value in study.config.items()
        if name.startswith("augment.")
    }
    if not chosen:
        return ""
    used = [f"{name} {value}" for name, value in chosen.items() if value]
    return f"Augmentation: {', '.join(used) or 'none'}."


def _seeds(study: Study) -> str:
    seed, split = (study.config.get(name) for name in ("seed", "split.seed"))
    return "" if seed is None else f"Seed of training {seed}, of the split {split}."


def _selection(study: Study) -> str:
    metric = study.config.get("checkpoint.best_metric")
    if study.report.refit or not metric or study.report.step is None:
        return ""
    return (
        f"Checkpoint of step {study.report.step}. The run keeps the checkpoint with the best "
        f"validation {metric}."
    )


def _ensemble(study: Study) -> str:
    report = study.report
    text = "One model, no ensemble" if report.members == 1 else f"Mean of {report.members} models"
    return text + ("; mean over 8 symmetries of each image." if report.tta else ".")


def _imbalance(study: Study) -> str:
    weights = study.config.get("loss.class_weights")
    return f"Class weights: {weights}. {classes_tested(study)}" if weights else ""


def _prediction(study: Study) -> str:
    if study.report.step is None:
        return ""
    return (
        f"The weights of step {study.report.step} are stored in the run's folder; "
        "cervix_jax.predict applies them to image files."
    )


def _code(study: Study) -> str:
    version = study.environment.get("versions", {}).get("cervix_jax")
    if not version:
        return ""
    commit = study.environment.get("git_commit")
    return f"cervix_jax {version}, {f'commit {commit}' if commit else 'commit unknown'}."


def _settings(study: Study) -> str:
    return f"config.json stores all {len(study.config)} settings of the run."


def _inputs(study: Study) -> str:
    del study
    return "The model receives the pixels of the image and no clinical information."


MAKING: Mapping[str, Callable[[Study], str]] = {
    "source": _source,
    "sizes": _sizes,
    "task": _task,
    "use": _use,
    "preprocessing": _preprocessing,
    "resolution": _resolution,
    "classes": _classes,
    "split": _split,
    "disjoint": _disjoint,
    "architecture": _architecture,
    "output": _output,
    "software": _software,
    "initialisation": _initialisation,
    "training": _training,
    "augmentation": _augmentation,
    "seeds": _seeds,
    "selection": _selection,
    "ensemble": _ensemble,
    "imbalance": _imbalance,
    "prediction": _prediction,
    "code": _code,
    "settings": _settings,
    "inputs": _inputs,
}
