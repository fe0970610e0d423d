"""Batches of a prepared data set on the devices.

The batch at step s is a pure function of (seed, s), because Grain's index shuffle determines its
examples; no iterator state needs to be saved. With `placement="device"` all decoded uint8 images
are in device memory and a batch is a gather. With "host" Grain decodes batches in advance, and each
of several processes decodes its share of every batch. "auto" selects "device" if memory allows it.
All placements give the same batches.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import Any, cast

import grain
import jax
import numpy as np
from jax.sharding import Mesh

from cervix_jax import distributed
from cervix_jax.data import placement as places
from cervix_jax.data.catalog import Dataset
from cervix_jax.data.decode import MARGINS, RESIZE_MODES, picture_shape
from cervix_jax.data.streaming import THREADS, WORTHWHILE, Reader, stream, worker_count
from cervix_jax.errors import InputError, check_choice, check_count
from cervix_jax.files.threads import map_in_order
from cervix_jax.progress import Bar

Batch = dict[str, jax.Array]


class Pipeline:
    """Batches of one data set on one mesh.

        pipeline = Pipeline(load("cervix_phantom/single_cell"), image_size=64)
        batches = pipeline.train_batches(np.arange(100), batch_size=8, seed=0)
        next(batches)["image"]           # uint8 [8, 64, 64, 3] on the devices

    If `resize` makes two squares side by side, images are [S, 2 S, 3] instead of [S, S, 3].

    A training batch is {"image": uint8 [B, S, S, 3], "label": int32 [B]}; its images may have a
    margin. If the data set labels pixels, the label is int8 [B, S, S], and -1 for pixels without a
    label. An evaluation batch has no margin; it also has "mask", float32 [B], which is 0 for
    padding. B is the global batch size.

    Args:
      dataset: the prepared data set.
      mesh: devices that share each batch; None uses all devices.
      image_size: side S of the images in pixels.
      resize: method to make images square, see `cervix_jax.data.decode.resize_square`.
      scale: see `cervix_jax.data.decode.resize_square`.
      placement: "device", "host" or "auto", see `cervix_jax.data.placement`.
      margin: pixels on each side of training images, with `resize="crop"` or "scale". The
        augmentation that requires the margin (`AugmentSettings.margin`) removes it.
      fill: fill of the margin outside the image, see `decode.crop_with_margin`.
      workers: number of processes that decode on the host; 0 uses threads, None chooses.
      progress: whether to show a bar while decoding.

    Attributes:
      mesh: the devices.

    Raises:
      InputError: `placement` or `resize` is unknown, `image_size` is invalid, or `placement` is
        "device" and the images do not fit into device memory.
    """

    def __init__(
        self,
        dataset: Dataset,
        mesh: Mesh | None = None,
        *,
        image_size: int,
        resize: str = "stretch",
        scale: float | None = None,
        placement: str = "auto",
        margin: int = 0,
        fill: str = "black",
        workers: int | None = None,
        progress: bool = True,
    ):
        check_choice("data.placement", placement, places.PLACEMENTS)
        check_choice("data.resize", resize, RESIZE_MODES)
        if image_size < 1:
            raise InputError(f"image_size={image_size}: give a number of pixels.")
        if workers is not None:
            check_count("workers", workers, least=0)
        self.mesh = mesh or distributed.make_mesh()
        self._image_size, self._margin = image_size, margin if resize in MARGINS else 0
        self._labels = np.asarray(dataset.labels, np.int32)
        # Not the data set itself, which holds more than a worker process needs.
        self._read = Reader(
            dataset.source, self._labels, dataset.filenames,
            size=image_size, resize=resize, scale=scale, margin=self._margin, fill=fill,
            pixel_labels=dataset.pixel_labels,
        )  # fmt: skip
        self._placement, self._workers, self._progress = placement, workers, progress
        self._sharding = distributed.batch_sharded(self.mesh)
        if placement == "device":
            places.require_room(self._decoded_bytes, self.mesh)

    @functools.cached_property
    def placement(self) -> places.Placement:
        """Where the decoded images are stored; decided at first use, by all processes together."""
        if self._placement == "auto":
            return places.choose(self._decoded_bytes, self.mesh)
        return places.Placement(self._placement, self._decoded_bytes)

    @property
    def _decoded_bytes(self) -> int:
        height, width = self._shape
        return len(self._labels) * (4 if self._read.pixel_labels else 3) * height * width

    @property
    def _shape(self) -> tuple[int, int]:
        """Height and width of a decoded image, including the margin."""
        height, width = picture_shape(self._image_size, self._read.resize)
        return height + 2 * self._margin, width + 2 * self._margin

    def train_batches(
        self, indices: np.ndarray, batch_size: int, *, seed: int, start: int = 0
    ) -> Iterator[Batch]:
        """Endless training batches from step `start` on.

        Each epoch is a new permutation; examples that do not fill a last batch are left out of
        that epoch.

        Args:
          indices: int [N], the training examples.
          batch_size: global batch size.
          seed: seed of the permutations.
          start: first step.

        Raises:
          InputError: fewer examples than one batch.
        """
        steps_per_epoch(len(indices), batch_size)
        order = _training_order(indices, batch_size, seed)
        return self._global_batches(order, batch_size, start)

    def eval_batches(self, indices: np.ndarray, batch_size: int) -> Iterator[Batch]:
        """Yield the examples of `indices` once, in order; the last batch is padded and masked."""
        count = -(-len(indices) // batch_size) * batch_size
        padded = np.resize(indices, count) if len(indices) else np.zeros(0, np.int64)
        mask = (np.arange(count) < len(indices)).astype(np.float32)
        order = _source(padded)
        batches = self._global_batches(order, batch_size, 0)
        for number, batch in enumerate(batches):
            batch = batch | {"image": self._centre(batch["image"])}
            here = mask[number * batch_size : (number + 1) * batch_size]
            yield batch | {"mask": self._place(here[self._local_rows(batch_size)])}

    def images(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Decode only these examples on the host, uint8 [N, S, S, 3]."""
        found = [self._centre(self._read(int(index))["image"][None])[0] for index in indices]
        shape = picture_shape(self._image_size, self._read.resize)
        return np.stack(found) if found else np.zeros((0, *shape, 3), np.uint8)

    def _global_batches(
        self, order: grain.MapDataset, batch_size: int, start: int
    ) -> Iterator[Batch]:
        # Batching before the slice gives each process a contiguous block of every global batch, so
        # that rows (and dropout masks) are the same as in a single process.
        processes, process = jax.process_count(), jax.process_index()
        local = batch_size // processes

        def batched(examples: grain.MapDataset) -> grain.MapDataset:
            return examples.batch(local, drop_remainder=True)[process::processes][start:]

        if self.placement.kind == "device":
            images, labels, gather = self._resident
            for index in batched(order):
                yield gather(images, labels, self._place(index))
        else:
            decoded = batched(order.map(self._read))
            workers = self._workers
            if workers is None:
                long = len(decoded) * local >= WORTHWHILE
                workers = worker_count(self.mesh) if long else 0
            # CPU arrays would share memory with the workers, which Grain reuses.
            copied = workers and self.mesh.local_devices[0].platform == "cpu"
            for examples in stream(decoded, workers):
                if copied:
                    examples = {name: np.array(values) for name, values in examples.items()}
                yield {name: self._place(values) for name, values in examples.items()}

    def _centre(self, images: Any) -> Any:
        """Remove the margin of images [N, S + 2 margin, S + 2 margin, 3]."""
        inside = slice(self._margin, self._margin + self._image_size)
        return images[:, inside, inside] if self._margin else images

    def _local_rows(self, batch_size: int) -> slice:
        local = batch_size // jax.process_count()
        return slice(jax.process_index() * local, (jax.process_index() + 1) * local)

    def _place(self, values: np.ndarray) -> jax.Array:
        return jax.make_array_from_process_local_data(self._sharding, values)

    @functools.cached_property
    def _resident(self):
        count, shape = len(self._labels), self._shape
        images = np.empty((count, *shape, 3), np.uint8)
        labels = self._labels
        if self._read.pixel_labels:
            labels = np.empty((count, *shape), np.int8)
        bar = Bar(
            total=count, desc="decoding", unit="image", disable=not self._progress, leave=False
        )
        with bar:
            loaded = map_in_order(self._read, range(count), workers=THREADS)
            for index, example in enumerate(loaded):
                images[index], labels[index] = example["image"], example["label"]
                bar.update()
        everywhere = distributed.replicated(self.mesh)

        @functools.partial(jax.jit, out_shardings=self._sharding)
        def gather(images, labels, index):
            return {"image": images[index], "label": labels[index]}

        put = functools.partial(jax.make_array_from_process_local_data, everywhere)
        return put(images), put(labels), gather


def steps_per_epoch(num_examples: int, batch_size: int) -> int:
    """Return the number of whole batches in one epoch.

    Raises:
      InputError: there are fewer examples than one batch holds.
    """
    if num_examples < batch_size:
        raise InputError(
            f"batch_size={batch_size} is larger than the training split of {num_examples} "
            "examples; use a smaller one."
        )
    return num_examples // batch_size


def _source(indices: np.ndarray) -> grain.MapDataset:
    # An array meets Grain's requirements, although it is no subclass of Sequence.
    return grain.MapDataset.source(cast(Sequence[np.integer], indices))


def _training_order(indices: np.ndarray, batch_size: int, seed: int) -> grain.MapDataset:
    usable = steps_per_epoch(len(indices), batch_size) * batch_size
    shuffled = _source(indices).seed(seed).shuffle()[:usable]
    return shuffled.repeat()
