"""Explain a run step by step: select images, make maps, draw them, and measure them."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from cervix_jax.data.catalog import Dataset
from cervix_jax.data.class_map import ClassMap
from cervix_jax.data.splits import SPLITS
from cervix_jax.errors import InputError, check_choice, check_count, check_number
from cervix_jax.explain import registry
from cervix_jax.explain.cam import AUTO, find_feature_map
from cervix_jax.explain.rectifiers import has_rectifier
from cervix_jax.explain.registry import METHODS, REFERENCES
from cervix_jax.explanations import channel_attention, index_page, paper_figure, sheets, summary
from cervix_jax.explanations.annotations import read_annotations
from cervix_jax.explanations.explainer import Explainer, MapSettings
from cervix_jax.explanations.fresh import fresh_variables
from cervix_jax.explanations.measuring import (
    AVERAGE_MAP,
    GROUPS,
    LOCALISATION,
    Effort,
    Subject,
    Values,
    measure,
)
from cervix_jax.explanations.selection import Selection, Target, select, selection_of
from cervix_jax.explanations.source import (
    Source,
    open_pipeline,
    open_source,
    scale_in,
    training_images,
)
from cervix_jax.explanations.store import Store
from cervix_jax.runs.run import Run, as_classifier

DEFAULT_SETTINGS, DEFAULT_EFFORT = MapSettings(), Effort()


def explain_run(
    run: Run | str | Path,
    *,
    split: str = "test",
    methods: Sequence[str] | Literal["quick", "all"] = "quick",
    images: int = 64,
    target: Target = "predicted",
    dataset: Dataset | None = None,
    settings: MapSettings = DEFAULT_SETTINGS,
    effort: Effort | None = DEFAULT_EFFORT,
    nucleus_radius: float = 12.0,
    sheet_images: int = 24,
    figure_images: int = 3,
    compare: Run | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    manual_dir: str = "",
    data_dir: str = "",
    class_map: ClassMap | None = None,
) -> dict[str, Any]:
    """Explain images of a run, draw the maps and measure them; finished files are kept.

        report = explain_run(load_run("runs/rcan"), methods=["saliency", "grad_cam"], images=16)
        report["methods"]["grad_cam"]["measures"]["insertion"]["estimate"]

    Args:
      run: the run, or its folder.
      split: split of the images to explain: "train", "val" or "test".
      methods: names of `explain.registry.EXPLANATIONS`. "all" takes every method that the network
        and the data allow; "quick" omits RISE and variants of other methods.
      images: number of images; 0 means all.
      target: the class to explain.
      dataset: another data set to explain. Only the location of its maps, and their difference
        between images, are measured.
      settings: settings of the maps.
      effort: numbers of images and samples for the measures; None skips them.
      nucleus_radius: radius of the disc around a nucleus that is marked only by its centre, in
        pixels of the stored image.
      sheet_images: images on each contact sheet; 0 omits the sheets.
      figure_images: images in the paper's figure; 0 omits the figure.
      compare: a second run to show in the figure.
      out: folder to write to; default `output_folder`.
      overwrite: whether existing results of other settings are replaced.
      manual_dir: folder of the raw data, if moved since training.
      data_dir: folder of prepared data, if moved since training.
      class_map: classes with another name in the current data, see
        `cervix_jax.data.class_map.match_classes`.

    Returns:
      The contents of `measures.json`: the selection, the settings of each method and, with
      `effort`, its measures. Additional keys: `folder`; `left_out`, skipped methods with the
      reason; `gates`, the blocks of the network with channel attention.

    Raises:
      InputError: a method, the data or a file of an earlier call cannot be used.
    """
    check_choice("--split", split, SPLITS)
    check_choice("--target", target, get_args(Target))
    for name, count in (
        ("images", images), ("sheet_images", sheet_images), ("figure_images", figure_images)
    ):  # fmt: skip
        check_count(name, count, 0)
    check_number("nucleus_radius", nucleus_radius, 0)
    run = as_classifier(run)
    folder = Path(out or output_folder(run, split, dataset))
    source = open_source(run, split, dataset, manual_dir, data_dir, class_map)
    names, left_out = _choose_methods(methods, run, source)
    settings = _with_feature_map(settings, run, names)
    _check_compared(compare, run)
    selection = select(
        run, source.dataset, source.pipeline, source.candidates, count=images, target=target,
        seed=settings.seed, batch_size=settings.batch_size, progress="predicting",
    )  # fmt: skip
    references = None
    if any(METHODS[name].baseline == "images" for name in names):
        references = training_images(run, source, settings.seed)
    explainer = Explainer(run, settings, references)
    annotations = read_annotations(
        selection,
        resize=run.config.data.resize,
        scale=scale_in(run, source.dataset),
        nucleus_radius=nucleus_radius,
    )
    if effort and not source.own and annotations is None:
        raise InputError(
            f"{source.dataset.name} has no marked nuclei or cytoplasm, so the location of maps "
            "cannot be measured; give --nomeasures (in Python effort=None), or use herlev, cric or "
            "cervix_phantom."
        )
    store = Store(folder, _facts(run, selection), overwrite)
    maps = {
        name: _make_maps(name, selection, explainer, store)
        for name in (*names, *(REFERENCES if effort else ()))
    }
    drawn = {name: maps[name] for name in names}
    _draw_sheets(run, selection.first(sheet_images), drawn, settings.feature_map, folder)
    if figure_images:
        _draw_figure(run, compare, selection.first(figure_images), store, settings)
    gates = channel_attention.write_gates(
        run, selection, folder, batch_size=settings.batch_size, progress="gates"
    )
    values: dict[str, Values] = {name: {} for name in maps}
    if effort:
        fresh = fresh_variables(run, settings.seed) if source.own else {}
        for name, found in maps.items():
            subject = Subject(name, found, selection, annotations, explainer, fresh, effort)
            values[name] = _measure(subject, store, own=source.own)
    report = _report(
        values, selection, explainer, store, split=split if source.own else "all images"
    )
    if effort:
        summary.write_summary(folder, report)
    pictures = {"figure.png": bool(figure_images), "channel_attention.png": bool(gates)}
    index_page.write_index(
        folder, report, sheets=names if sheet_images else (),
        pictures=[name for name, is_drawn in pictures.items() if is_drawn], left_out=left_out,
    )  # fmt: skip
    return report | {"folder": str(folder), "left_out": left_out, "gates": list(gates)}


def output_folder(run: Run, split: str = "test", dataset: Dataset | None = None) -> Path:
    """Default folder of explanations: `explain` in the run's folder, or a subfolder of it.

    Raises:
      InputError: the run has no folder.
    """
    if run.workdir is None:
        raise InputError("the run was not loaded from a folder; give out=, the folder to write to.")
    if dataset is not None:
        return run.workdir / "explain" / dataset.title.replace("/", "-")
    return run.workdir / "explain" / ("" if split == "test" else split)


def _choose_methods(
    given: Sequence[str] | Literal["quick", "all"],
    run: Run,
    source: Source,
) -> tuple[tuple[str, ...], dict[str, str]]:
    """The methods to run, and the skipped methods with the reason.

    Named methods are all returned; a list ("quick", "all") omits methods that the network or the
    data do not allow.

    Raises:
      InputError: a name is unknown.
    """
    lists = {"quick": registry.QUICK, "all": registry.EXPLANATIONS}
    as_list = lists.get(given) if isinstance(given, str) else None
    names = as_list or registry.check_names([given] if isinstance(given, str) else given)
    shape = run.picture_shape
    left_out: dict[str, str] = {}
    for name in names if as_list else ():
        if METHODS[name].baseline == "images" and not source.own:
            left_out[name] = "it needs training images, and another data set is explained"
        if METHODS[name].rectifiers and not has_rectifier(run.logits_fn, (1, *shape)):
            left_out[name] = "it needs a network with ReLU"
    return tuple(name for name in names if name not in left_out), left_out


def _with_feature_map(settings: MapSettings, run: Run, names: Sequence[str]) -> MapSettings:
    """The settings with the name of the feature map that "auto" means for this run.

    Raises:
      InputError: the network has no such feature map.
    """
    if not any(METHODS[name].features for name in names):
        return settings
    found = find_feature_map(run.features_fn, run.picture_shape, settings.feature_map or AUTO)
    return dataclasses.replace(settings, feature_map=found.name)


def _check_compared(other: Run | None, run: Run) -> None:
    if other is not None and other.class_names != run.class_names:
        raise InputError(
            f"--compare={other.workdir}: its classes ({', '.join(other.class_names)}) differ from "
            f"those of {run.workdir}; compare runs with the same classes."
        )


def _facts(run: Run, selection: Selection) -> dict[str, Any]:
    """Settings of maps besides the method's own settings."""
    return {
        "weights": run.weights_digest()[:8],
        "dataset": selection.dataset.name,
        "version": selection.dataset.version,
        "image_size": run.config.image_size,
        "resize": run.config.data.resize,
        "target": selection.target,
        "filenames": selection.filenames,
        "pixels": selection.pixels_digest,
        "targets": selection.targets.tolist(),
    }


def _make_maps(name: str, selection: Selection, explainer: Explainer, store: Store) -> np.ndarray:
    def make(rows: slice) -> np.ndarray:
        return explainer.explain(
            name, selection.images[rows], selection.targets[rows], progress=name
        )

    return store.below("maps").maps(
        name, {"method": name} | explainer.options(name), make,
        chunk=explainer.settings.batch_size, progress=f"{name}, chunks",
    )  # fmt: skip


def _draw_sheets(
    run: Run,
    selection: Selection,
    maps: Mapping[str, np.ndarray],
    feature_map: str | None,
    folder: Path,
) -> None:
    count = len(selection.indices)
    texts = paper_figure.captions(run, selection)
    for name, found in maps.items() if count else ():
        method = METHODS[name]
        grid = None
        if method.features:
            shape = selection.pixels.shape[1:]
            grid = find_feature_map(run.features_fn, shape, feature_map or AUTO)
        sheets.contact_sheet(
            selection.pixels,
            found[:count],
            texts,
            f"{method.titled(grid)}: {method.description}",
            folder / "sheets" / f"{name}.png",
        )


def _draw_figure(
    run: Run, other: Run | None, selection: Selection, store: Store, settings: MapSettings
) -> None:
    shown = [(run, selection, "figure")]
    if other is not None:
        theirs = selection_of(
            other, selection.dataset, open_pipeline(other, selection.dataset), selection.indices,
            selection.target, batch_size=settings.batch_size,
        )  # fmt: skip
        shown.append((other, theirs, "figure/compare"))
    sides = [
        paper_figure.make_side(
            each,
            images,
            Store(store.folder / below, _facts(each, images), store.overwrite),
            seed=settings.seed,
            batch_size=settings.batch_size,
            progress=f"figure, {each.config.model.name}",
        )
        for each, images, below in shown
    ]
    paper_figure.draw(sides, store.folder / "figure.png")


def _measure(subject: Subject, store: Store, *, own: bool) -> Values:
    """All measures; for another data set only those that need no true class of the network."""
    made_with = {"method": subject.name} | subject.explainer.options(subject.name)
    return measure(
        subject,
        store.below(f"measures/{subject.name}", **made_with),
        groups=tuple(GROUPS) if own else (AVERAGE_MAP, LOCALISATION),
        progress=subject.name,
    )


def _report(
    values: Mapping[str, Values],
    selection: Selection,
    explainer: Explainer,
    store: Store,
    *,
    split: str,
) -> dict[str, Any]:
    """The report: selection, settings of each method, and measures."""
    run, shared = explainer.run, ("filenames", "pixels", "targets")
    common = {key: value for key, value in store.made_with.items() if key not in shared}
    summaries = summary.summarise_methods(values, selection)
    measured = dict.fromkeys(name for found in summaries.values() for name in found)
    return {
        "model": run.config.model.name,
        "step": run.step,
        "weights": store.made_with["weights"],
        "dataset": selection.dataset.name,
        "data_title": selection.dataset.title,
        "split": split,
        "target": selection.target,
        "selection": {
            "n": len(selection.indices),
            "groups": len(set(selection.groups.tolist())),
            "wrong": None if selection.right is None else int((~selection.right).sum()),
            "seed": explainer.settings.seed,
            "images": [
                {"filename": name, "target": run.class_names[target]}
                for name, target in zip(selection.filenames, selection.targets, strict=True)
            ],
        },
        "measures": {name: summary.describe(name)._asdict() for name in measured},
        "methods": {
            name: {
                "description": METHODS[name].description,
                "reference": METHODS[name].reference,
                "reduction": METHODS[name].reduction,
                "settings": {"method": name} | common | explainer.options(name),
                "measures": found,
            }
            for name, found in summaries.items()
        },
    }
