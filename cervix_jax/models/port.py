"""Published PyTorch weights into our models: names and axis orders, and nothing silently skipped.

A parameter's torch name is its path here, joined by dots: kernels and scales are `weight`, the
statistics `running_mean` and `running_var`. Older spellings and those of the public RCAN and
RAN-92 code are translated first. Reading the file itself happens elsewhere.
"""

import re
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from flax import nnx

from cervix_jax.errors import InputError
from cervix_jax.models.classifier import Classifier

_LEAVES = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}
_SHOWN = 4


def load_torch_state_dict(
    model: Classifier, state_dict: Mapping[str, np.ndarray], *, replace_head: bool = False
) -> None:
    """Set every parameter and statistic of `model` from a torch state dict, in place.

    Args:
        model: made by `models.create`; unchanged when an error is raised.
        state_dict: arrays by torch's names, in torch's axis orders. `num_batches_tracked` is
            ignored; a leading `module.` (DataParallel), `norm.1` for `norm1` in DenseNet, and the
            names of the public RCAN and RAN-92 code are understood.
        replace_head: for transfer to other classes: the classifier keeps its drawn values, and so
            does the attention of RCAN when the file has none.

    Raises:
        InputError: names missing or unexpected, shapes that differ, or values that are not finite
            numbers; all in one message.
    """
    given = {
        canonical_name(name): value
        for name, value in state_dict.items()
        if not name.endswith("num_batches_tracked")
    }
    wanted = {torch_name(path): leaf for path, leaf in nnx.to_flat_state(nnx.state(model))}
    if replace_head:
        head = {name for name, leaf in wanted.items() if _is_head(model, leaf)}
        given = {name: value for name, value in given.items() if name not in head}
        new = {name for name in wanted if re.search(r"(^|\.)(attention|rcab\d)\.", name)}
        if not new & given.keys():
            head |= new
        wanted = {name: leaf for name, leaf in wanted.items() if name not in head}
    problems = {
        "missing": sorted(wanted.keys() - given.keys()),
        "unexpected": sorted(given.keys() - wanted.keys()),
        "of another shape": [],
        "not finite numbers": [],
    }
    values = {}
    for name in sorted(wanted.keys() & given.keys()):
        value, shape = _to_flax(given[name]), wanted[name].shape
        if value is None:
            problems["not finite numbers"].append(name)
        elif value.shape != shape:
            problems["of another shape"].append(f"{name} {value.shape}, not {shape}")
        else:
            values[name] = value
    if any(problems.values()):
        raise InputError(
            f"the weights do not fit {type(model).__name__} with {model.num_classes} classes: "
            + "; ".join(_summary(kind, names) for kind, names in problems.items() if names)
            + "; check the model's name"
            + ("" if replace_head else ", or pass replace_head=True to keep a new classifier")
        )
    for name, value in values.items():
        wanted[name].set_value(jnp.asarray(value))


def torch_name(path: tuple[str | int, ...]) -> str:
    """The torch name of a variable: `fc/kernel` is `fc.weight`, `bn1/mean` `bn1.running_mean`."""
    *parents, leaf = map(str, path)
    return ".".join([*parents, _LEAVES.get(leaf, leaf)])


def canonical_name(name: str) -> str:
    """Translate older and the public code's spellings of a torch name to the one used here."""
    name = name.removeprefix("module.")
    for pattern, replacement in _ALIASES:
        name = re.sub(pattern, replacement, name)
    return name


def _attention_aliases(module: str, levels: int) -> list[tuple[str, str]]:
    """RAN-92 numbers the units of a mask by order of execution; here they go by level."""
    start = rf"^({module}(?:_\d)?)\."
    block = start + r"softmax{}_blocks\."
    pairs = [(block.format(level), f"down.{level - 1}.") for level in range(1, levels)]
    pairs += [
        (block.format(levels) + r"0\.", f"down.{levels - 1}."),
        (block.format(levels) + r"1\.", f"up.{levels - 1}."),
    ]
    pairs += [(block.format(2 * levels - up - 1), f"up.{up}.") for up in range(levels - 1)]
    mask = {0: "norm1", 2: "conv1", 3: "norm2", 5: "conv2"}
    pairs += [
        (block.format(2 * levels) + rf"{index}\.", f"mask.{name}.") for index, name in mask.items()
    ]
    pairs += [
        (start + rf"skip{level}_connection_residual_block\.", f"skip.{level - 1}.")
        for level in range(1, levels)
    ]
    return [(pattern, rf"\1.{target}") for pattern, target in pairs]


_ALIASES = [
    (r"(denselayer\d+)\.(?:0\.)?(norm|conv)\.?([12])\.", r"\1.\2\3."),
    (r"denselayer\d+\.1\.conv_du\.0\.", "attention.squeeze."),
    (r"denselayer\d+\.1\.conv_du\.2\.", "attention.excite."),
    (r"^classifier\.1\.", "classifier."),
    (r"^mpool2\.0\.", "norm."),
    *_attention_aliases("attention_module1", 3),
    *_attention_aliases("attention_module2", 2),
    *_attention_aliases("attention_module3", 1),
]


def _is_head(model: Classifier, leaf: nnx.Variable) -> bool:
    return leaf is model.linear.kernel or leaf is model.linear.bias


def _to_flax(value: np.ndarray) -> np.ndarray | None:
    try:
        array = np.asarray(value).astype(np.float32)
    except (TypeError, ValueError):
        return None
    if not np.isfinite(array).all():
        return None
    if array.ndim == 4:
        return array.transpose(2, 3, 1, 0)
    return array.T if array.ndim == 2 else array


def _summary(kind: str, names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{len(names)} {kind} ({', '.join(names[:_SHOWN])}{more})"
