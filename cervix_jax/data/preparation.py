"""Prepares the files of a data set, and reports prepared data that are older than the files."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from absl import logging
from tensorflow_datasets.core import utils as tfds_utils

from cervix_jax import progress
from cervix_jax.data.prepared import encoded_records, load_fingerprints, write_index
from cervix_jax.data.sources import SourceFiles
from cervix_jax.errors import InputError
from cervix_jax.files.images import only_our_checks
from cervix_jax.files.paths import user_path


@dataclasses.dataclass(frozen=True)
class ManualDir:
    """The given folder of raw files.

    Attributes:
      path: the folder; None if none was given.
      problem: why the folder cannot be read; "" if it can.
    """

    path: Path | None = None
    problem: str = ""

    @classmethod
    def of(cls, given: str | Path | None) -> "ManualDir":
        """Inspect the given folder; "" and None mean none.

        Raises:
          InputError: the text is not a valid path.
        """
        if given is None or str(given) == "":
            return cls()
        path = user_path(given, "manual_dir")
        if not path.is_dir():
            return cls(path, "is not a folder" if path.exists() else "does not exist")
        try:
            empty = not any(path.iterdir())
        except OSError as error:
            return cls(path, f"cannot be listed ({error.strerror}; check its permissions)")
        return cls(path, "is empty" if empty else "")

    def require(self) -> None:
        """Raises InputError if there is a problem."""
        if self.problem:
            raise InputError(
                f"manual_dir={self.path}: {self.problem}; give the folder of the images."
            )


def is_prepared(builder: tfds.core.DatasetBuilder) -> bool:
    """Whether the folder was renamed from its temporary name, the last step of the preparation."""
    return (Path(builder.data_dir) / "dataset_info.json").is_file()


def prepare(
    name: str,
    builder: tfds.core.DatasetBuilder,
    manual_dir: ManualDir,
    reopen: Callable[[], tfds.core.DatasetBuilder],
) -> tfds.core.DatasetBuilder:
    """Build into a temporary folder that is renamed when complete.

    Args:
      name: name of the data set, for messages.
      builder: the builder, whose data are not prepared.
      manual_dir: folder of the raw files, for data sets that need one.
      reopen: function that creates the builder again.

    Returns:
      The builder of the prepared data.

    Raises:
      InputError: the files cannot be used.
      OSError: the data cannot be written.
    """
    manual_dir.require()
    manual = manual_dir.path
    if manual is None and builder.MANUAL_DOWNLOAD_INSTRUCTIONS:
        manual = Path(builder.data_dir_root) / "downloads" / "manual"
        if not manual.is_dir():
            raise InputError(
                f"{name} is not prepared under {builder.data_dir_root} and its files cannot be "
                "downloaded automatically; give manual_dir=/path/to/the/unpacked/files "
                f"(required files: `python -m cervix_jax.prepare --dataset={name} --instructions`)."
            )
    if Path(builder.data_dir).exists():
        raise InputError(
            f"{name}: {builder.data_dir} is not a complete prepared data set; delete that folder "
            "and run again."
        )
    logging.info("Preparing %s in %s; this happens once.", name, builder.data_dir)
    start = time.monotonic()
    # Recorded before the files are read: a later change then counts as newer.
    files = SourceFiles.of(manual, str(builder.data_dir_root)) if manual else None
    config = tfds.download.DownloadConfig(manual_dir=manual) if manual else None
    try:
        with only_our_checks(), _bars_of_tfds():  # the first is for threads that read images
            builder.download_and_prepare(download_config=config, file_format="array_record")
    except OSError:
        # Another process may have prepared the same data set first: its result is equivalent.
        builder = reopen()
        if not is_prepared(builder):
            raise
    write_index(builder, manual, files)
    load_fingerprints(encoded_records(builder), progress=True)
    seconds = time.monotonic() - start
    logging.info("Prepared %s in %.0f s: %s", name, seconds, builder.data_dir)
    return builder


@contextlib.contextmanager
def _bars_of_tfds() -> Iterator[None]:
    """A block in which the progress bars of TFDS obey `--progress` too."""
    library: Any = tfds_utils  # `tqdm` is a function there
    own = library.tqdm

    def bar(*args: Any, desc: str = "", **kwargs: Any) -> progress.Bar:
        phase = desc.partition("/")[0].rstrip(". ").lower()  # without the path of a file
        return progress.Bar(*args, desc=phase, **kwargs)

    if progress.mode() != "bar":
        library.tqdm = bar
    try:
        yield
    finally:
        library.tqdm = own


def check_files(
    name: str, builder: tfds.core.DatasetBuilder, index: dict[str, Any], manual_dir: ManualDir
) -> None:
    """Report prepared data that differ from what preparing them now would give.

    A builder may interpret a change itself with a method `judge_change`, which receives the folder
    and the record of its files (None if an earlier version prepared them), and returns a
    description of the change, "" if it does not matter.

    Args:
      name: name of the data set.
      builder: the builder, whose data are prepared.
      index: record of the examples, see `write_index`.
      manual_dir: the folder given now.

    Raises:
      InputError: the change makes the prepared data unusable.
    """
    if not builder.MANUAL_DOWNLOAD_INSTRUCTIONS:
        return  # the builder reads no files
    path = Path(builder.data_dir)
    anew = f"to prepare it anew delete {path} or give another data_dir"
    recorded = index["manual_dir"]
    if manual_dir.path and manual_dir.problem:
        log = logging.info if recorded == str(manual_dir.path.resolve()) else logging.warning
        log(
            "manual_dir=%s %s; the data of %s in %s, prepared from %s, are complete and are used.",
            manual_dir.path, manual_dir.problem, name, path, recorded or "files not recorded",
        )  # fmt: skip
        return
    now = manual_dir.path or (Path(recorded) if recorded else None)
    if now is None or not now.is_dir():
        return
    before = SourceFiles.from_json(index.get("files"))
    after = SourceFiles.of(now, str(builder.data_dir_root))
    change = before.change(after) if before else ""
    judge = getattr(builder, "judge_change", None)
    if judge and (change or before is None):
        change = judge(now, before)
    elif recorded and Path(recorded) != now.resolve() and not judge:
        logging.warning(
            "%s was prepared from %s, not from the given manual_dir %s; %s.",
            name, recorded, now, anew,
        )  # fmt: skip
    if change:
        logging.warning(
            "%s: the prepared data in %s are older than the files in %s (%s) and are used "
            "unchanged; %s.",
            name, path, now, change, anew,
        )  # fmt: skip
