"""The programs of a config, lowered from shapes: the jitted functions that commands run."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import ml_collections
import numpy as np
from flax import nnx
from jax.sharding import Mesh, Sharding, SingleDeviceSharding

from cervix_jax import distributed, target
from cervix_jax.data.augment import parse_settings
from cervix_jax.data.decode import picture_shape
from cervix_jax.errors import InputError
from cervix_jax.explain.baselines import white
from cervix_jax.explain.integrated import lower_integrated_gradients
from cervix_jax.explain.registry import METHODS
from cervix_jax.export.program import named_weights, portable, trace
from cervix_jax.models.build import build_model
from cervix_jax.runs.inference import make_forward
from cervix_jax.runs.run import Run
from cervix_jax.training.check import batch_unit
from cervix_jax.training.step import (
    RunInputs,
    abstract_state,
    inference_variables,
    make_train_step,
)

EXPLAINED = 32  # points at a time, the default of `python -m cervix_jax.explain`


@dataclasses.dataclass(frozen=True)
class Program:
    """A program before its compilation.

    Attributes:
      lowered: the lowered form of the traced function.
      images: images of one call, on all chips together.
      chips: number of chips that run it.
      batch_bytes: bytes of the arguments that grow with the batch, of all chips together.
    """

    lowered: jax.stages.Lowered
    images: int
    chips: int
    batch_bytes: int

    @property
    def images_a_chip(self) -> int:
        """Images of one call on one chip."""
        return self.images // self.chips


@dataclasses.dataclass(frozen=True)
class Subject:
    """A config and the chips that its programs are compiled for.

    Attributes:
      config: config of the run.
      num_classes: length of the logits.
      mesh: the chips.
      images_a_chip: images of a call on each chip; 0 uses the number of the config.
    """

    config: ml_collections.ConfigDict
    num_classes: int
    mesh: Mesh
    images_a_chip: int = 0

    def lower(self, name: str) -> Program:
        """The program with this name, one of `PROGRAMS`.

        Raises:
          InputError: the batch size is not a multiple of the number of chips.
        """
        with target.tracing_for("tpu"):
            return PROGRAMS[name](self)

    @functools.cached_property
    def run(self) -> Run:
        """A run of the config whose weights are zeros; programs do not depend on them."""

        def variables() -> dict[str, Any]:
            _, params, stats = nnx.split(build_model(self.config, self.num_classes), nnx.Param, ...)
            return {"params": nnx.to_pure_dict(params), "stats": nnx.to_pure_dict(stats)}

        zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), jax.eval_shape(variables))
        names = [f"class {number}" for number in range(self.num_classes)]
        return Run(self.config, {"class_names": names}, zeros, step=0)

    @property
    def unit(self) -> int:
        """The images per chip of a training step are a multiple of this number."""
        return batch_unit(self.config)

    @property
    def one_chip(self) -> SingleDeviceSharding:
        """The first chip; explanations and exported programs run on one."""
        return SingleDeviceSharding(self.mesh.devices.flat[0])

    def images(self, count: int, sharding: Sharding, margin: int = 0) -> jax.ShapeDtypeStruct:
        """A batch of uint8 images."""
        height, width = (side + 2 * margin for side in self.picture)
        return jax.ShapeDtypeStruct((count, height, width, 3), np.uint8, sharding=sharding)

    @property
    def picture(self) -> tuple[int, int]:
        """Height and width of the input of the network."""
        return picture_shape(int(self.config.image_size), self.config.data.resize)


def _train(subject: Subject) -> Program:
    config, mesh, classes = subject.config, subject.mesh, subject.num_classes
    size = subject.images_a_chip * mesh.devices.size or int(config.batch_size)
    distributed.check_divides("batch_size", size, mesh)
    unit = subject.unit
    if size // mesh.devices.size % unit:
        raise InputError(
            f"batch_size={size}: the {size // mesh.devices.size} images per chip are not a "
            f"multiple of {unit}, which accumulation_steps and model.norm_groups require; use a "
            f"multiple of {unit * mesh.devices.size}."
        )
    everywhere, split = distributed.replicated(mesh), distributed.batch_sharded(mesh)
    graphdef, state = abstract_state(config, classes, mesh)
    step: Any = make_train_step(graphdef, config, classes, mesh)
    margin = parse_settings(config.augment.to_dict()).margin(config.image_size, config.data.resize)
    batch = {
        "image": subject.images(size, split, margin),
        "label": jax.ShapeDtypeStruct((size,), np.int32, sharding=split),
    }
    inputs = RunInputs(0, np.zeros(1, np.float32), 0, np.ones(classes, np.float32)).at(0)
    lowered = step.lower(state, batch, _shapes(inputs, everywhere))
    return Program(lowered, size, mesh.devices.size, _bytes(batch))


def _evaluate(subject: Subject) -> Program:
    graphdef, state = abstract_state(subject.config, subject.num_classes, subject.mesh)
    return _forward(subject, graphdef, inference_variables(state))


def _predict(subject: Subject) -> Program:
    return _forward(subject, subject.run.graphdef, subject.run.variables)


def _forward(subject: Subject, graphdef: nnx.GraphDef, variables: Any) -> Program:
    config, mesh = subject.config, subject.mesh
    wanted = subject.images_a_chip * mesh.devices.size or int(config.eval_batch_size)
    size = distributed.filled_up(wanted, mesh)
    images = subject.images(size, distributed.batch_sharded(mesh))
    forward: Any = make_forward(graphdef, config.model.normalization, mesh)
    lowered = forward.lower(_shapes(variables, distributed.replicated(mesh)), images)
    return Program(lowered, size, mesh.devices.size, _bytes(images))


def _integrated_gradients(subject: Subject) -> Program:
    run, method = subject.run, METHODS["integrated_gradients"]
    size = subject.images_a_chip or EXPLAINED
    images = np.zeros((size, *subject.picture, 3), np.float32)
    lowered = lower_integrated_gradients(
        _shapes(run.logits_fn, subject.one_chip),
        images,
        0,
        baselines=white(run.input_range),
        batch_size=size,
        **method.settings,
    )
    return Program(lowered, size, 1, 0)


def _export(subject: Subject) -> Program:
    run = portable(subject.run)
    size = subject.images_a_chip or int(subject.config.eval_batch_size)
    images = subject.images(size, subject.one_chip)
    weights = _shapes(named_weights(run), subject.one_chip)
    lowered = jax.jit(trace(run).call).lower(weights, images)
    return Program(lowered, size, 1, _bytes(images))


PROGRAMS: dict[str, Callable[[Subject], Program]] = {
    "train": _train,
    "evaluate": _evaluate,
    "predict": _predict,
    "integrated_gradients": _integrated_gradients,
    "export": _export,
}


def _shapes(tree: Any, sharding: Sharding) -> Any:
    """The arrays of a tree as shapes with a sharding."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)


def _bytes(tree: Any) -> int:
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))
