"""Predictions of image files as a table: the command `predict` as a function, without its flags."""

import contextlib
import dataclasses
import os
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from cervix_jax.command.preemption import Preempted, StopRequest
from cervix_jax.data.decode import needs_scale
from cervix_jax.detect.detector import SHIPPED, load_detector
from cervix_jax.errors import InputError, check_count
from cervix_jax.files import atomic
from cervix_jax.files.folders import Unread
from cervix_jax.files.images import MAX_PIXELS, only_our_checks
from cervix_jax.files.lock import held
from cervix_jax.predict.cell_rows import CellRows
from cervix_jax.predict.field_options import FieldOptions
from cervix_jax.predict.field_rows import FieldRows
from cervix_jax.predict.finish import Predicted, finish_output
from cervix_jax.predict.image_rows import ImageOptions, ImageRows
from cervix_jax.predict.images_page import RUN, check_html
from cervix_jax.predict.inputs import check_arguments, list_images
from cervix_jax.predict.network import Network
from cervix_jax.predict.output import Output, check_path
from cervix_jax.predict.parts import REASON, Entry, Unit
from cervix_jax.predict.positions import Positions
from cervix_jax.predict.schedulers import AUTO, shard_of_scheduler
from cervix_jax.predict.shard import WHOLE, Shard, parse_shard
from cervix_jax.predict.validation import Validation, read_validation
from cervix_jax.progress import Bar
from cervix_jax.runs.run import Run, as_classifier

ImagePaths = str | Path | Sequence[str | Path] | Iterator[str]

# Maximum number of left-out images that are named on stderr; a file lists all of them.
_NAMED = 20


class _Rows(Protocol):
    """Computes rows: `ImageRows`, `FieldRows` or `CellRows`."""

    unit: str

    @property
    def together(self) -> int: ...

    @property
    def columns(self) -> list[str]: ...

    def units(self, paths: Iterator[str]) -> Iterator[Unit]: ...

    def batches(self, units: Iterator[Unit]) -> Generator[list[Entry], None, None]: ...


def predict_images(
    run: Run | str | Path,
    images: ImagePaths,
    *,
    out: str | Path,
    step: str | int = "best",
    batch_size: int = 0,
    resume: bool = False,
    overwrite: bool = False,
    strict: bool = False,
    max_pixels: int = MAX_PIXELS,
    calibrated: bool = False,
    mpp: float = 0.0,
    coverage: float = ImageOptions.coverage,
    group: str = "",
    aggregate: str = ImageOptions.aggregate,
    overlay: str | Path = "",
    method: str = ImageOptions.method,
    feature_map: str = ImageOptions.feature_map,
    field: str | None = None,
    window: int = 0,
    overlap: float = FieldOptions.overlap,
    min_contrast: float = 0.0,
    positions: str | Path = "",
    positions_width: int = 0,
    crop: int = 0,
    detector: str | Path = SHIPPED,
    min_nucleus: float | None = None,
    severity: Sequence[str] = (),
    abnormal: Sequence[str] = (),
    min_probability: float = FieldOptions.min_probability,
    heatmap: str = FieldOptions.heatmap,
    maps: str | Path = "",
    html: str | Path = "",
    shard: str = str(WHOLE),
    progress: bool = True,
) -> Predicted:
    """Predict image files into a table with one row per image, in constant memory.

        predict_images("runs/rcan", ["cells/", "more/*.png"], out="predicted.csv")
        predict_images(run, "fields/", out="fields.csv", field="window", window=128)

    The table gets its name when it is complete. After a stop, also by Ctrl-C, SIGTERM or a kill,
    `resume` continues the work and gives the same bytes.

    Args:
      run: a run, or its folder; a folder is loaded after all else is checked.
      images: files, folders, patterns of `glob`, or several of them; or an iterator of paths, which
        are used as they arrive.
      out: the table, `.csv` or `.jsonl`; `<out>_skipped.csv` lists unreadable files with reasons.
      step: checkpoint of a folder, see `load_run`.
      batch_size: images per batch; 0 uses the run's `eval_batch_size`, which gives the logits of
        `evaluate` to the last bit.
      resume: continue a stopped call, which must have had the same arguments.
      overwrite: replace an existing table or an unfinished part of one.
      strict: stop at the first image that cannot be read.
      max_pixels: maximum pixels of an image; larger ones are skipped.
      calibrated: divide logits by the temperature fitted on validation images.
      mpp: pixel size of the images or fields in micrometres; 0 uses that of the run's data set. It
        affects predictions of runs with `data.resize=scale`, and the size of crops around nuclei.
      coverage: see `ImageOptions`; likewise `group`, `aggregate`, `overlay` and `method`.
      group: rule that groups images; `<out>_groups.csv` has a row for each group.
      aggregate: rule that combines the images of a group.
      overlay: folder for a picture of each image with its attribution map.
      method: attribution method of `overlay`.
      feature_map: layer for Grad-CAM.
      field: None, or the way to predict whole fields: "window", "nuclei" or "cells". The next
        arguments, up to `maps`, are for fields only, see `FieldOptions`.
      window: side of the sliding window in pixels.
      overlap: overlap of neighbouring windows as a share.
      min_contrast: minimum contrast of a window; others are skipped as empty background.
      positions: file of positions of nuclei.
      positions_width: width of the fields on which positions were marked.
      crop: side of the square crop around a nucleus.
      detector: detector of nuclei.
      min_nucleus: minimum score of a nucleus.
      severity: all classes from harmless to worst.
      abnormal: classes that count as abnormal in heat maps, in the abnormal share of cells and in
        the choice of suspicious cells.
      min_probability: minimum probability for a class to count as a field's worst finding.
      heatmap: content of heat maps.
      maps: folder for heat maps and GeoJSON; by default named after the table.
      html: page of the images with counts, a histogram and thumbnails; "" writes none.
      shard: share of the images for this process, such as "3/16"; "auto" reads it from the
        scheduler that started the process, see `schedulers`. The shard that finishes last writes
        the table; otherwise `merge_shards` does.
      progress: show a progress bar and notices on standard error.

    Raises:
      InputError: an argument cannot be used, or no image can be predicted.
      Preempted: the process was asked to stop; `resume` continues.
    """
    table = Path(out)
    check_count("--max_pixels", max_pixels)
    check_count("--batch_size", batch_size, 0)
    of_images = ImageOptions(
        coverage=coverage,
        group=group,
        aggregate=aggregate,
        overlay=overlay,
        method=method,
        feature_map=feature_map,
    )
    of_fields = FieldOptions(
        field=field,
        window=window,
        overlap=overlap,
        min_contrast=min_contrast,
        positions=positions,
        positions_width=positions_width,
        crop=crop,
        mpp=mpp,
        detector=detector,
        min_nucleus=min_nucleus,
        severity=severity,
        abnormal=abnormal,
        min_probability=min_probability,
        heatmap=heatmap,
        maps=maps or table.with_suffix(""),
    )
    for name, value in (("group", group), ("overlay", overlay)):
        if field and value:
            raise InputError(f"--{name} is for images, --field for fields; give one of them.")
    if html:
        check_html(html, field=field, resume=resume, overwrite=overwrite)
    say = _say if progress else _keep_quiet
    share, why = (parse_shard(shard), "") if shard != AUTO else shard_of_scheduler(os.environ)
    if why:
        say(f"shard {share}, as set by {why}; --shard={WHOLE} predicts all images.")
    with held(share.part_of(table) if share != WHOLE else table, _called(table, share)):
        check_path(table, share, resume=resume, overwrite=overwrite)
        unread = Unread()
        paths, total = _listed(images, unread, slides=field == "cells")
        run = as_classifier(run, step)
        if len(unread):
            say(f"{unread.text()}.")
        with only_our_checks(), StopRequest() as stop:
            nuclei = None
            if field == "nuclei":
                listed = list(paths)
                paths, total = iter(listed), len(listed)
                nuclei = _positions(of_fields, listed, max_pixels, say)
            validation = read_validation(run.workdir, run.step, coverage)
            if calibrated and validation.temperature is None:
                raise InputError(f"--calibrated: there is no temperature: {validation.missing}.")
            if mpp and not needs_scale(run.config.data.resize) and field in (None, "window"):
                raise InputError(
                    f"--mpp={mpp:g}: has no effect, as the run resizes images of any resolution "
                    f"(data.resize={run.config.data.resize}); leave it out."
                )
            network = Network(run, batch_size, validation.temperature if calibrated else None, mpp)
            given = {"--calibrated": calibrated, "--max_pixels": max_pixels}
            rows, deciding = _rows(
                network, of_images, of_fields, validation, nuclei, max_pixels, say
            )
            given |= deciding
            units = rows.units(paths)
            if field == "cells":  # each file is opened to count its rows
                bar = Bar(units, "finding tissue", unit="row", leave=False, disable=not progress)
                listed_units = list(bar)
                units, total = iter(listed_units), len(listed_units)
            at_end: dict[str, object] = {"--aggregate": aggregate}
            if html:
                at_end |= {"--html": str(html), RUN: run.workdir.name if run.workdir else "unnamed"}
            output = Output(
                table,
                rows.columns,
                network.facts() | given,
                at_end=at_end,
                shard=share,
                together=rows.together,
                resume=resume,
                overwrite=overwrite,
            )
            with atomic.storage_named(output.part, output.when_full), output:
                if output.whole:
                    say(f"{output.part}: is already complete.")
                try:
                    _write(output, rows, units, stop, total, strict=strict, progress=progress)
                except (Preempted, KeyboardInterrupt):
                    say(f"stopped after {output.units} {rows.unit}s; {_way_on(output)}")
                    raise
                output.end()
            predicted = finish_output(output)
    return dataclasses.replace(
        predicted,
        unread=unread.counts(),
        no_sets=validation.missing if field in (None, "cells") else "",
    )


def _rows(
    network: Network,
    of_images: ImageOptions,
    of_fields: FieldOptions,
    validation: Validation,
    nuclei: Positions | None,
    max_pixels: int,
    say: Callable[[str], None],
) -> tuple[_Rows, dict[str, object]]:
    """The object that computes rows, and the options that decide their contents."""
    run = network.run
    if not of_fields.field:
        rows = ImageRows(network, of_images, validation, max_pixels)
        return rows, of_images.deciding() | {"threshold": str(validation.threshold)}
    if of_fields.field == "cells":
        detector = load_detector(of_fields.detector, of_fields.min_nucleus)
        rows = CellRows(network, detector, of_fields, validation, max_pixels)
        deciding = of_fields.deciding() | detector.facts()
        deciding |= {"threshold": str(validation.threshold)}
        deciding |= {"run": run.workdir.name if run.workdir else "in memory"}
    else:
        rows = FieldRows(network, of_fields, nuclei, max_pixels)
        deciding = of_fields.deciding()
    say(f"severity ({rows.severity.source}): {rows.severity.text()}")
    return rows, deciding


def _listed(
    images: ImagePaths, unread: Unread, *, slides: bool = False
) -> tuple[Iterator[str], int | None]:
    """Paths of the images, and their number if it is known in advance."""
    if isinstance(images, Iterator):
        return map(os.fspath, images), None
    given = [images] if isinstance(images, str | Path) else images
    arguments = [os.fspath(each) for each in given]
    check_arguments(arguments)
    total = sum(1 for _ in list_images(arguments, unread=unread, slides=slides))
    if not total:
        others = f" ({unread.text()})" if len(unread) else ""
        raise InputError(
            f"{', '.join(arguments)}: no image found{others}; give image files, or folders that "
            "contain images."
        )
    return list_images(arguments, slides=slides), total


def _positions(
    options: FieldOptions, listed: list[str], max_pixels: int, say: Callable[[str], None]
) -> Positions:
    positions = Positions(options.positions, options.positions_width)
    if absent := positions.check(listed, max_pixels):
        say(f"{len(absent)} images with positions are not among those given, e.g. {absent[0]}.")
    return positions


def _write(
    output: Output,
    rows: _Rows,
    units: Iterator[Unit],
    stop: StopRequest,
    total: int | None,
    *,
    strict: bool,
    progress: bool,
) -> None:
    """Predict the remaining units, batch by batch, and add their results.

    Raises:
      InputError: an image cannot be used, with `strict`.
      Preempted: the process was asked to stop.
    """
    share = None if total is None else output.shard.size(total, rows.together)
    remaining = output.remaining(units)
    with (
        Bar(
            total=share, initial=output.units, desc="predicting", unit=rows.unit,
            disable=not progress,
        ) as bar,
        contextlib.closing(rows.batches(remaining)) as batches,
    ):  # fmt: skip
        for batch in batches:
            for entry in batch:
                if REASON not in entry:
                    continue
                what = f"{entry['path']}: {entry[REASON]}"
                if strict:
                    raise InputError(f"{what}; repair or remove it, or leave out --strict.")
                if progress and output.skipped < _NAMED:
                    bar.write(f"left out: {what}", file=sys.stderr)
            if batch:
                output.add(batch)
            bar.update(len(batch))
            stop.check("predicting")


def _called(table: Path, shard: Shard) -> str:
    return f"--out={table}" if shard == WHOLE else f"--out={table} --shard={shard}"


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _keep_quiet(text: str) -> None:
    del text


def _way_on(output: Output) -> str:
    if not output.units:
        return "nothing was done yet."
    return f"they are in {output.part}; the same command with --resume continues."
