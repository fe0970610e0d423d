"""Batches that are decoded in advance, in threads or in Grain's worker processes.

Pillow decodes and resizes images in several threads at once, but Python code runs in one thread at
a time, so only worker processes can use many cores. The worker processes are new interpreters. They
receive the reader of the examples by pickle, import neither the user's script nor a model, use no
device, and end when their parent process ends for any reason.
"""

import contextlib
import dataclasses
import multiprocessing
import os
import signal
import sys
import threading
import time
import types
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any

import grain
import jax
import numpy as np
from absl import flags, logging
from jax.sharding import Mesh

from cervix_jax.data.decode import decode_labels, decode_square
from cervix_jax.data.nucleus_maps import as_labels
from cervix_jax.errors import InputError

THREADS = 4
# Number of worker processes: enough to supply a fast accelerator with small images, but limited by
# the host memory for the batches that they decode in advance.
WORKERS_PER_DEVICE, MOST_WORKERS = 8, 32
# A process takes seconds to start; threads decode thousands of images in that time.
WORTHWHILE = 10_000
_START_SECONDS = 10
_starting = threading.Lock()


@dataclasses.dataclass(frozen=True)
class Reader:
    """Decodes examples of a prepared data set; picklable.

    Attributes:
      source: dicts whose "image" holds the bytes of a file.
      labels: int32 [N].
      filenames: N names, for errors.
      size: side of the square in pixels.
      resize: see `decode.resize_square`.
      scale: see `decode.resize_square`.
      margin: pixels to keep on each side of the square.
      fill: fill of the margin beyond the image border.
      pixel_labels: name of the feature that labels every pixel, used in place of `labels`; "" if
        each image has one label.
    """

    source: Sequence[Mapping[str, Any]]
    labels: np.ndarray
    filenames: Sequence[str]
    size: int
    resize: str
    margin: int
    fill: str
    scale: float | None = None
    pixel_labels: str = ""

    def __call__(self, index: int) -> dict[str, np.ndarray]:
        """Return one example: image uint8 [S, S, 3], margin included, and label int32 [].

        A label of pixels is int8 [S, S], -1 for pixels without a label.
        """
        example = self.source[int(index)]
        image = decode_square(
            example["image"], self.size, self.resize,
            scale=self.scale, margin=self.margin, fill=self.fill, name=self.filenames[index],
        )  # fmt: skip
        if self.pixel_labels:
            drawn = decode_labels(example[self.pixel_labels], self.size, self.resize)
            return {"image": image, "label": as_labels(drawn)}
        return {"image": image, "label": self.labels[index]}


def worker_count(mesh: Mesh) -> int:
    """Return the useful number of worker processes for this process's devices; 0 means threads.

    On the CPU they would compete for cores with the model, which is far slower than decoding.
    """
    devices = mesh.local_devices
    if devices[0].platform == "cpu":
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    wanted = min(WORKERS_PER_DEVICE * len(devices), MOST_WORKERS, (cores or 1) - 1)
    return wanted if wanted > 1 else 0  # a single process is no faster than threads


def stream(batches: grain.MapDataset, workers: int) -> Iterator[dict[str, np.ndarray]]:
    """Yield the elements of a data set in order, computed in advance.

    If processes cannot be started, or one of them dies, threads continue from there.

    Args:
      batches: the data set; picklable if there are workers.
      workers: number of processes; 0 uses threads of this process.

    Raises:
      InputError: an image is damaged.
    """
    done = 0
    if workers := min(workers, len(batches)):
        try:
            with contextlib.closing(_from_processes(batches, workers)) as made:
                for batch in made:
                    yield batch
                    done += 1
            return
        except InputError:
            raise
        except Exception as error:  # from the system, from pickle, or from Grain if a process died
            logging.warning(
                "Images are now decoded in threads, because worker processes fail on this machine "
                "(%s: %s); batches stay the same.",
                type(error).__name__, " ".join(str(error).split()),
            )  # fmt: skip
    ahead = grain.ReadOptions(num_threads=THREADS, prefetch_buffer_size=4)
    yield from batches[done:].to_iter_dataset(ahead)


def _from_processes(
    batches: grain.MapDataset, workers: int
) -> Generator[dict[str, np.ndarray], None, None]:
    _let_grain_read_its_flags()
    one_ahead = grain.ReadOptions(num_threads=1, prefetch_buffer_size=1)
    options = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=1)
    iterator = iter(batches.to_iter_dataset(one_ahead).mp_prefetch(options, _begin_worker))
    try:
        with _without_main(workers):
            batch = next(iterator, None)
        while batch is not None:
            yield batch
            batch = next(iterator, None)
    finally:
        iterator.close()


def _let_grain_read_its_flags() -> None:
    """Give Grain's flags their defaults if no flags were parsed, as in a notebook or a test."""
    if not flags.FLAGS.is_parsed():
        for name in flags.FLAGS:
            if name.startswith("grain_"):
                flags.FLAGS[name].present = 1


@contextlib.contextmanager
def _without_main(workers: int) -> Iterator[None]:
    """A block in which new processes do not run the main script of this process.

    Python would import it in each of them: a short script without `if __name__ == "__main__"`
    would train there too, and a command would import its model.
    """
    with _starting:
        main, before = sys.modules["__main__"], set(multiprocessing.active_children())
        sys.modules["__main__"] = types.ModuleType("__main__")
        try:
            yield
            # Grain starts the first process for the first batch, and the others in threads.
            latest = time.monotonic() + _START_SECONDS
            while len({*multiprocessing.active_children()} - before) < workers:
                if time.monotonic() > latest:
                    break
                time.sleep(0.01)
        finally:
            sys.modules["__main__"] = main


def _begin_worker(number: int, count: int) -> None:
    """Set up a new process as a worker that uses no device and ends with its parent."""
    del number, count
    # A stop signal reaches all processes of a run, and the run still needs a batch to end its
    # step. The run ends its workers through Grain.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    jax.config.update("jax_platforms", "cpu")
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
