"""Conversion of published weights to the models of this package: names and axis orders.

All variables must match; nothing is skipped silently.

`weights/names.py` translates the names; `weights/read.py` reads the files.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from cervix_jax.errors import InputError
from cervix_jax.models.classifier import Classifier
from cervix_jax.models.weights.names import canonical_names, torch_name

ReplaceHead = bool | Literal["if_needed"]
_SHOWN = 4
_ADDED_ATTENTION = re.compile(r"(^|\.)(attention|rcab\d?)\.")


class Match(NamedTuple):
    """The assignment of weights to variables.

    Attributes:
      values: arrays in this package's axis order by the path of the variable, e.g. `fc/kernel`.
      kept: torch names of the variables without weights, which keep their random values.
    """

    values: dict[str, np.ndarray]
    kept: tuple[str, ...]


def load_torch_state_dict(
    model: Classifier, state_dict: Mapping[str, np.ndarray], *, replace_head: ReplaceHead = False
) -> Match:
    """Set every parameter and statistic of `model` from a torch state dict, in place.

    Args:
      model: created by `models.create`; unchanged if an error is raised.
      state_dict: arrays by torch's names, in torch's axis orders. `num_batches_tracked` is
        ignored; a leading `module.` (DataParallel), `norm.1` for `norm1` in DenseNet, and the
        names of the public RCAN, RAN-92 and EfficientNet-Lite code are recognised.
      replace_head: True for transfer to other classes: the classifier keeps its random values,
        and so does attention added to the published network if the file has none.
        "if_needed" does this too, but uses the file's classifier if its shape fits.

    Returns:
      The variables that were set, and those that were kept.

    Raises:
      InputError: names are missing or unexpected, shapes differ, or values are not finite numbers;
        one message lists all problems.
    """
    match = match_state_dict(model, state_dict, replace_head=replace_head)
    assign(model, match.values)
    return match


def match_state_dict(
    model: Classifier, state_dict: Mapping[str, np.ndarray], *, replace_head: ReplaceHead = False
) -> Match:
    """As `load_torch_state_dict`, but without setting anything; `model` may be abstract."""
    names = canonical_names(state_dict)
    given = {
        names[name]: _to_our_axes(value)
        for name, value in state_dict.items()
        if not name.endswith("num_batches_tracked")
    }
    return _match(model, given, replace_head)


def match_variables(
    model: Classifier, variables: Mapping[str, Any], *, replace_head: ReplaceHead = False
) -> Match:
    """As `match_state_dict`, for {"params", "stats"} of another model of this package.

    Args:
      model: the model; may be abstract.
      variables: nested dicts of arrays.
      replace_head: see `load_torch_state_dict`.

    Raises:
      InputError: see `load_torch_state_dict`.
    """
    given = {
        torch_name([_key(part) for part in path]): np.asarray(value)
        for kind in ("params", "stats")
        for path, value in jax.tree.leaves_with_path(variables[kind])
    }
    return _match(model, given, replace_head)


def assign(model: nnx.Module, values: Mapping[str, np.ndarray | jax.Array]) -> None:
    """Set the variables of `model` at these paths (see `Match.values`); works under `jax.jit`."""
    for path, leaf in nnx.to_flat_state(nnx.state(model)):
        value = values.get(_joined(path))
        if value is not None:
            leaf.set_value(jnp.asarray(value))


def _match(model: Classifier, given: dict[str, np.ndarray], replace_head: ReplaceHead) -> Match:
    variables = nnx.to_flat_state(nnx.state(model))
    paths = {torch_name(path): _joined(path) for path, _ in variables}
    wanted = {torch_name(path): leaf for path, leaf in variables}
    kept: set[str] = set()
    if replace_head:
        head = {name for name, leaf in wanted.items() if _is_head(model, leaf)}
        fits = all(name in given and given[name].shape == wanted[name].shape for name in head)
        if replace_head is True or not fits:
            kept |= head
        added = {name for name in wanted if _ADDED_ATTENTION.search(name)}
        if not added & given.keys():
            kept |= added
        given = {name: value for name, value in given.items() if name not in kept}
    expected = wanted.keys() - kept
    problems = {
        "missing": sorted(expected - given.keys()),
        "unexpected": sorted(given.keys() - expected),
        "of another shape": [],
        "not finite numbers": [],
    }
    values = {}
    for name in sorted(expected & given.keys()):
        shape = wanted[name].shape
        if given[name].shape != shape:
            problems["of another shape"].append(f"{name} {given[name].shape}, not {shape}")
            continue
        value = _finite(given[name])
        if value is None:
            problems["not finite numbers"].append(name)
        else:
            values[paths[name]] = value
    if any(problems.values()):
        raise InputError(
            f"the weights do not fit {type(model).__name__} with {model.num_classes} classes: "
            + "; ".join(_summary(kind, names) for kind, names in problems.items() if names)
            + "; check the model's name"
            + ("" if replace_head else ", or pass replace_head=True to keep a new classifier")
        )
    return Match(values, tuple(sorted(kept)))


def _is_head(model: Classifier, leaf: nnx.Variable) -> bool:
    if not hasattr(model, "linear"):  # a detector
        return False
    return leaf is model.linear.kernel or leaf is model.linear.bias


def _joined(path: Sequence[object]) -> str:
    return "/".join(map(str, path))


def _key(part: Any) -> str:
    """Return the name in one of JAX's path entries."""
    return str(getattr(part, "key", getattr(part, "idx", part)))


def _to_our_axes(value: np.ndarray) -> np.ndarray:
    array = np.asarray(value)
    if array.ndim == 4:
        return array.transpose(2, 3, 1, 0)
    return array.T if array.ndim == 2 else array


def _finite(value: np.ndarray) -> np.ndarray | None:
    try:
        array = value.astype(np.float32)
    except (TypeError, ValueError):
        return None
    return array if np.isfinite(array).all() else None


def _summary(kind: str, names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{len(names)} {kind} ({', '.join(names[:_SHOWN])}{more})"
