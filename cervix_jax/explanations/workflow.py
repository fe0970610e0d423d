"""The command, step by step: choose images, make maps, draw them, measure them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cervix_jax import distributed
from cervix_jax.command.startup import cache_compilations
from cervix_jax.config.base import parse_data_settings
from cervix_jax.data import catalog
from cervix_jax.data.experiment import ExperimentData, open_data
from cervix_jax.data.pipeline import Pipeline
from cervix_jax.errors import InputError
from cervix_jax.explain.cam import check_feature_map
from cervix_jax.explain.rectifiers import has_rectifier
from cervix_jax.explanations import (
    channel_attention as gates,
)
from cervix_jax.explanations import (
    paper_figure,
    sheets,
    summary,
)
from cervix_jax.explanations.annotations import Annotations, read_annotations
from cervix_jax.explanations.fresh import fresh_variables
from cervix_jax.explanations.measuring import (
    AVERAGE_MAP,
    GROUPS,
    LOCALISATION,
    Effort,
)
from cervix_jax.explanations.measuring import measure as measure_maps
from cervix_jax.explanations.methods import (
    GUIDED,
    METHODS,
    REFERENCES,
    Explainer,
    Settings,
    parse_methods,
)
from cervix_jax.explanations.selection import Selection, select, selection_of
from cervix_jax.explanations.store import load_or_make_maps
from cervix_jax.runs.run import Run, load_run

REFERENCE_IMAGES = 32  # training images that expected gradients start from
Flags = Any  # flags of `cervix_jax.explain.__main__`


def explain_run(args: Flags) -> None:
    """All of the command.

    Args:
      args: the parsed flags.

    Raises:
      InputError: a flag, the run, the data or a file of an earlier start cannot be used.
    """
    names = parse_methods(args.method)
    cache_compilations()
    run = load_run(args.workdir, args.step)
    other = _other_run(args, run)
    own = args.dataset in ("", run.config.data.dataset)
    folder = Path(args.out or Path(args.workdir) / "explain" / _subfolder(args, own))
    if own:
        data = open_data(run.config, distributed.make_mesh(), manual_dir=args.manual_dir,
                         data_dir=args.data_dir)  # fmt: skip
        dataset, pipeline, candidates = data.dataset, data.pipeline, data.indices(args.split)
    else:
        data = None
        dataset = _other_dataset(args)
        pipeline, candidates = _pipeline(run, dataset), np.arange(len(dataset))
    names = _possible(names, args.method, args.feature_map, run, own)
    selection = select(
        run, dataset, pipeline, candidates, count=args.images, target=args.target, seed=args.seed,
        batch_size=args.batch_size, progress="predicting",
    )  # fmt: skip
    explainer = _explainer(args, run, data, names)
    annotations = read_annotations(
        selection, resize=run.config.data.resize, nucleus_radius=args.nucleus_radius
    )
    measured = bool(args.measures)
    if measured and not own and annotations is None:
        raise InputError(
            f"--dataset={args.dataset}: nobody marked nuclei or cytoplasm in it, so it cannot be "
            "measured where maps lie; give --nomeasures, or herlev, cric or cervix_phantom."
        )
    made_with = _facts(run, selection, args)
    maps, settings = {}, {}
    for name in (*names, *(REFERENCES if measured else ())):
        settings[name] = {"method": name} | made_with | explainer.options(name)
        maps[name] = load_or_make_maps(
            folder / "maps" / f"{name}.npz",
            settings[name],
            lambda rows, name=name: explainer.explain(
                name, selection.images[rows], selection.targets[rows], progress=name
            ),
            chunk=args.batch_size,
            overwrite=args.overwrite,
            progress=f"{name}, chunks",
        )
    _draw_sheets(args, run, selection, {name: maps[name] for name in names}, folder)
    if args.figure_images:
        _draw_figure(args, run, other, selection, folder)
    blocks = gates.write_gates(run, selection, folder, batch_size=args.batch_size, progress="gates")
    if measured:
        report = _measure(args, run, selection, explainer, annotations, maps, settings, own, folder)
        print(summary.text(report))
    if blocks:
        print(f"gates of {', '.join(blocks)}: channel_attention.csv")
    print(f"written to {folder}")


def _other_run(args: Flags, run: Run) -> Run | None:
    if not args.compare:
        return None
    other = load_run(args.compare, args.step)
    if other.class_names != run.class_names:
        raise InputError(
            f"--compare={args.compare}: its classes are {', '.join(other.class_names)}, not those "
            f"of {args.workdir}; compare runs of one data set."
        )
    return other


def _subfolder(args: Flags, own: bool) -> str:
    if not own:
        return args.dataset.replace("/", "-")
    return "" if args.split == "test" else args.split


def _other_dataset(args: Flags) -> catalog.Dataset:
    return catalog.load(
        args.dataset,
        manual_dir=args.manual_dir or None,
        data_dir=args.data_dir or None,
        settings=parse_data_settings(args.dataset, args.setting),
        check_counts=args.check_counts,
    )


def _pipeline(run: Run, dataset: catalog.Dataset) -> Pipeline:
    return Pipeline(
        dataset, distributed.make_mesh(), image_size=run.config.image_size,
        resize=run.config.data.resize, progress=False,
    )  # fmt: skip


def _possible(
    names: tuple[str, ...], given: str, feature_map: str, run: Run, own: bool
) -> tuple[str, ...]:
    """The methods but those of the default list that this network or data set does not allow.

    Raises:
      InputError: the network has no such feature map.
    """
    if any("feature_map" in METHODS[name].depends_on for name in names):
        check_feature_map(run.features_fn, _image_shape(run)[1:], feature_map)
    if given not in ("", "all"):
        return names
    left_out = {}
    if not own:
        left_out["expected_gradients"] = "starts from training images"
    for name in names:
        if name in GUIDED and not has_rectifier(run.logits_fn, _image_shape(run)):
            left_out[name] = "the network has no ReLU"
    for name, why in left_out.items():
        if name in names:
            print(f"{name} is left out: {why}")
    return tuple(name for name in names if name not in left_out)


def _image_shape(run: Run) -> tuple[int, int, int, int]:
    size = int(run.config.image_size)
    return (1, size, size, 3)


def _explainer(
    args: Flags, run: Run, data: ExperimentData | None, names: tuple[str, ...]
) -> Explainer:
    settings = Settings(
        output=args.output, baseline=args.baseline, steps=args.steps, samples=args.samples,
        masks=args.masks, window=args.window, feature_map=args.feature_map, seed=args.seed,
        batch_size=args.batch_size,
    )  # fmt: skip
    references = np.zeros((0, *_image_shape(run)[1:]), np.float32)
    if "expected_gradients" in names:
        if data is None:  # the run's own training images, wherever they were
            data = open_data(run.config, distributed.make_mesh())
        training = data.indices("train")
        drawn = np.random.default_rng(args.seed).permutation(training)[:REFERENCE_IMAGES]
        references = np.asarray(run.preprocess(data.pipeline.images(np.sort(drawn))))
    return Explainer(run, settings, references)


def _facts(run: Run, selection: Selection, args: Flags) -> dict[str, Any]:
    """What decides maps besides the method's own settings."""
    return {
        "weights": run.weights_digest()[:8],
        "dataset": selection.dataset.name,
        "version": selection.dataset.version,
        "image_size": run.config.image_size,
        "resize": run.config.data.resize,
        "target": args.target,
        "filenames": selection.filenames,
        "targets": selection.targets.tolist(),
    }


def _draw_sheets(
    args: Flags, run: Run, selection: Selection, maps: Mapping[str, np.ndarray], folder: Path
) -> None:
    count = args.sheet_images
    texts = paper_figure.captions(run, selection)[:count]
    for name, found in maps.items() if count else ():
        sheets.contact_sheet(
            selection.pixels[:count],
            found[:count],
            texts,
            f"{name.replace('_', ' ')}: {METHODS[name].description}",
            folder / "sheets" / f"{name}.png",
        )


def _draw_figure(
    args: Flags, run: Run, other: Run | None, selection: Selection, folder: Path
) -> None:
    chosen = np.arange(len(selection.indices))[: args.figure_images]
    sides = [_side(args, run, selection.take(chosen), args.workdir, folder / "figure")]
    if other is not None:
        theirs = selection_of(
            other, selection.dataset, _pipeline(other, selection.dataset),
            selection.indices[chosen], args.target, batch_size=args.batch_size,
        )  # fmt: skip
        sides.append(_side(args, other, theirs, args.compare, folder / "figure" / "compare"))
    paper_figure.draw(sides, folder / "figure.png")


def _side(
    args: Flags, run: Run, selection: Selection, name: str, folder: Path
) -> paper_figure.Side:
    return paper_figure.make_side(
        run,
        f"{run.config.model.name} ({Path(name).name})",
        selection,
        _facts(run, selection, args),
        folder,
        seed=args.seed,
        batch_size=args.batch_size,
        overwrite=args.overwrite,
        progress=f"figure, {run.config.model.name}",
    )


def _measure(
    args: Flags, run: Run, selection: Selection, explainer: Explainer,
    annotations: Annotations | None, maps: Mapping[str, np.ndarray],
    settings: Mapping[str, dict[str, Any]], own: bool, folder: Path,
) -> dict[str, Any]:  # fmt: skip
    """Measure all maps, write what was found, and give it."""
    effort = Effort(args.perturbed_images, args.repeated_images, args.curve_steps,
                    args.infidelity_samples, args.sensitivity_samples)  # fmt: skip
    # Of another data set only where maps lie: on it the network has no right and wrong.
    groups = tuple(GROUPS) if own else (AVERAGE_MAP, LOCALISATION)
    logits_fn, fresh = run.logits_fn, fresh_variables(run, args.seed) if own else {}
    values = {
        name: measure_maps(
            name, found, settings[name], selection, explainer, annotations, effort,
            folder / "measures" / name, logits_fn=logits_fn, fresh=fresh, groups=groups,
            overwrite=args.overwrite, progress=name,
        )
        for name, found in maps.items()
    }  # fmt: skip
    summaries = summary.summarise_methods(values, selection)
    names = dict.fromkeys(name for found in summaries.values() for name in found)
    shared = ("filenames", "targets")
    report = {
        "model": run.config.model.name,
        "step": run.step,
        "weights": settings[next(iter(maps))]["weights"],
        "dataset": selection.dataset.name,
        "split": args.split if own else "all images",
        "target": args.target,
        "selection": {
            "n": len(selection.indices),
            "groups": len(set(selection.groups.tolist())),
            "wrong": None if selection.right is None else int((~selection.right).sum()),
            "seed": args.seed,
            "images": [
                {"filename": name, "target": run.class_names[target]}
                for name, target in zip(selection.filenames, selection.targets, strict=True)
            ],
        },
        "measures": {
            name: dict(zip(("better", "description"), summary.describe(name), strict=True))
            for name in names
        },
        "methods": {
            name: {
                "description": METHODS[name].description,
                "reference": METHODS[name].reference,
                "reduction": METHODS[name].reduction,
                "settings": {k: v for k, v in settings[name].items() if k not in shared},
                "measures": found,
            }
            for name, found in summaries.items()
        },
    }
    summary.write_summary(folder, report)
    return report
