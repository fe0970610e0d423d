"""Gates of channel attention: statistics by class, and the channels most opened and closed.

A gate is the factor from 0 to 1 by which the attention multiplies a channel of an image.
"""

import dataclasses
import re
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from cervix_jax.errors import InputError, check_count
from cervix_jax.explain.batches import sum_samples
from cervix_jax.explain.cam import feature_shapes
from cervix_jax.explain.function import LogitsFn, call, check_inputs


@dataclasses.dataclass(frozen=True)
class GateStatistics:
    """Statistics of one block's gates by class; NaN for a class without images.

    Attributes:
      mean: float64 [K, C], the mean gate of each class and channel.
      deviation: float64 [K, C], the standard deviation over images (divisor n - 1; NaN for n = 1).
      count: int [K], number of images of each class.
    """

    mean: np.ndarray
    deviation: np.ndarray
    count: np.ndarray


class ExtremeChannels(NamedTuple):
    """The channels with the largest and the smallest mean gate, int [count] each, in order."""

    most_open: np.ndarray
    most_closed: np.ndarray


def gate_names(fn: LogitsFn, image_shape: tuple[int, int, int]) -> tuple[str, ...]:
    """The blocks with attention, e.g. ("attention/denseblock4",), in network order."""
    out = feature_shapes(fn, image_shape)
    return tuple(sorted(name for name in out if name.startswith("attention/")))


def channel_gates(
    fn: LogitsFn,
    images: ArrayLike,
    *,
    batch_size: int = 32,
    progress: str = "",
) -> dict[str, np.ndarray]:
    """The gates of every attention block.

    Args:
      fn: function from images to logits and a dict with `attention/<block>`, such as
        `run.features_fn` or a model of this package.
      images: float [N, H, W, 3], preprocessed for the model.
      batch_size: images in one batch.
      progress: label of the progress bar; "" shows none.

    Returns:
      Block to float32 [N, C], between 0 and 1. A gate that also varies with the position (Residual
      Attention Network-92) is averaged over the positions.

    Raises:
      InputError: bad images, or a model without attention.
    """
    fn, examples = check_inputs(fn, images, 0)
    if not gate_names(fn, examples["images"].shape[1:]):
        raise InputError(
            "the model has no channel attention (its second output has no key attention/<block>); "
            "choose a model with attention."
        )
    run = {"batch_size": batch_size, "progress": progress}
    return sum_samples(_gates, fn, examples, (), **run)


def gate_statistics(gates: np.ndarray, labels: np.ndarray, num_classes: int) -> GateStatistics:
    """Mean and standard deviation of a block's gates by class.

    Args:
      gates: float [N, C], gates of one block.
      labels: int [N], true or predicted classes.
      num_classes: K, number of classes.

    Raises:
      InputError: the shapes do not match, or a label is not a class.
    """
    gates, labels = np.asarray(gates, np.float64), np.asarray(labels)
    if gates.ndim != 2 or labels.shape != (len(gates),):
        raise InputError(
            f"gates {list(gates.shape)} and labels {list(labels.shape)} do not match; give gates "
            "[N, C] and labels [N]."
        )
    if len(labels) and not (labels.min() >= 0 and labels.max() < num_classes):
        raise InputError(f"labels range from {labels.min()} to {labels.max()}; give labels from 0 "
                         f"to {num_classes - 1}.")  # fmt: skip
    count = np.bincount(labels, minlength=num_classes)
    empty = np.full((num_classes, gates.shape[1]), np.nan)
    mean, deviation = empty, empty.copy()
    for number in range(num_classes):
        own = gates[labels == number]
        if len(own):
            mean[number] = own.mean(0)
        if len(own) > 1:
            deviation[number] = own.std(0, ddof=1)
    return GateStatistics(mean, deviation, count)


def extreme_channels(gates: np.ndarray, count: int = 5) -> ExtremeChannels:
    """The `count` channels with the largest and the smallest mean gate.

    Channels with equal means keep their order.

    Args:
      gates: float [N, C], gates of one block, of all images or of one class.
      count: number of channels on each side, from 1 to C.

    Raises:
      InputError: there are no images, or `count` is not from 1 to C.
    """
    gates = np.asarray(gates, np.float64)
    check_count("count", count)
    if gates.ndim != 2 or not len(gates) or count > gates.shape[1]:
        raise InputError(
            f"gates {list(gates.shape)}: give [N, C] with an image and at least {count} channels."
        )
    mean = gates.mean(0)
    return ExtremeChannels(
        np.argsort(-mean, kind="stable")[:count], np.argsort(mean, kind="stable")[:count]
    )


def channel_maps(
    fn: LogitsFn,
    images: ArrayLike,
    block: str,
    channels: Sequence[int] | np.ndarray,
    *,
    batch_size: int = 32,
    progress: str = "",
) -> np.ndarray:
    """Feature maps of the channels that a block gates, after multiplication by the gate.

    Args:
      fn: as for `channel_gates`.
      images: float [N, H, W, 3].
      block: e.g. "attention/denseblock4". Its channels are the last ones of the stage with that
        number: all of them, or the 32 that the last dense layer adds.
      channels: int [K], numbered like the gates.
      batch_size: images in one batch.
      progress: label of the progress bar.

    Returns:
      float32 [N, h, w, K].

    Raises:
      InputError: the block or a channel does not exist.
    """
    fn, examples = check_inputs(fn, images, 0)
    out = feature_shapes(fn, examples["images"].shape[1:])
    if block not in out or not block.startswith("attention/"):
        names = ", ".join(gate_names(fn, examples["images"].shape[1:])) or "none"
        raise InputError(f"the model has no attention block {block!r}; its blocks: {names}.")
    stage = "stage" + re.findall("[0-9]", block)[0]
    gated = out[block].shape[-1]
    channels = np.asarray(channels)
    if channels.ndim != 1 or not ((channels >= 0) & (channels < gated)).all():
        raise InputError(
            f"channels={channels.tolist()}: {block} has channels 0 to {gated - 1}; choose from "
            "those."
        )
    places = np.int32(channels + out[stage].shape[-1] - gated)
    run = {"batch_size": batch_size, "progress": progress}
    return sum_samples(_channels, fn, examples, places, stage=stage, **run)


def _gates(fn, examples, sample, shared):
    out = call(fn, examples["images"])[1]
    gates = {name: value for name, value in out.items() if name.startswith("attention/")}
    return {
        name: value.astype(jnp.float32).mean(tuple(range(1, value.ndim - 1)))
        for name, value in gates.items()
    }


def _channels(fn, examples, sample, shared, *, stage):
    return call(fn, examples["images"])[1][stage][..., shared].astype(jnp.float32)
