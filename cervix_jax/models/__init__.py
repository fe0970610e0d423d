"""The models by name: `create("densenet121", num_classes=5, rngs=nnx.Rngs(0))`.

Every model maps float images [B, H, W, 3] to `(logits, out)`. `Classifier.__call__` lists the keys
of `out`; `Classifier.head` maps the last feature map to the logits. `register` adds custom models.
Models of an installed package are available to every command if the package lists them under
`[project.entry-points."cervix_jax.models"]`.
"""

import difflib
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast, get_args

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from cervix_jax import plugins
from cervix_jax.errors import InputError, check_count
from cervix_jax.models import densenet, efficientnet
from cervix_jax.models.classifier import Classifier
from cervix_jax.models.densenet import DenseNet
from cervix_jax.models.efficientnet import EfficientNet
from cervix_jax.models.layers import BatchNorm, Linear, initialise
from cervix_jax.models.nucleus_detector import NucleusDetector
from cervix_jax.models.residual_attention import ResidualAttentionNetwork
from cervix_jax.models.resnet import ResNet
from cervix_jax.models.weights import port as port
from cervix_jax.models.weights.read import read_state_dict


def _resnet50(*, dropout_rate: float = 0.0, **fixed: Any) -> ResNet:
    return ResNet(dropout_rate=dropout_rate, **fixed)


def _densenet121(*, dropout_rate: float = 0.0, **fixed: Any) -> DenseNet:
    return DenseNet(dropout_rate=dropout_rate, **fixed)


def _rcan(
    *, attention: densenet.Attention = "last_layer", dropout_rate: float = 0.5, **fixed: Any
) -> DenseNet:
    return DenseNet(attention=attention, dropout_rate=dropout_rate, **fixed)


def _ran92(*, dropout_rate: float = 0.0, **fixed: Any) -> ResidualAttentionNetwork:
    return ResidualAttentionNetwork(dropout_rate=dropout_rate, **fixed)


def _efficientnet_lite0(
    *, attention: efficientnet.Attention = "none", dropout_rate: float = 0.2, **fixed: Any
) -> EfficientNet:
    return EfficientNet(attention=attention, dropout_rate=dropout_rate, **fixed)


def _efficientnet_lite1(
    *, attention: efficientnet.Attention = "none", dropout_rate: float = 0.2, **fixed: Any
) -> EfficientNet:
    return EfficientNet(
        attention=attention, groups=efficientnet.LITE1, dropout_rate=dropout_rate, **fixed
    )


def _efficientnet_lite2(
    *, attention: efficientnet.Attention = "none", dropout_rate: float = 0.3, **fixed: Any
) -> EfficientNet:
    return EfficientNet(
        attention=attention, groups=efficientnet.LITE2, dropout_rate=dropout_rate, **fixed
    )


_FACTORIES: dict[str, Callable[..., Classifier]] = {
    "resnet50": _resnet50,
    "densenet121": _densenet121,
    "rcan": _rcan,
    "ran92": _ran92,
    "efficientnet_lite0": _efficientnet_lite0,
    "efficientnet_lite1": _efficientnet_lite1,
    "efficientnet_lite2": _efficientnet_lite2,
}

NAMES: tuple[str, ...] = tuple(_FACTORIES)  # the classifiers of this package
# Networks that detect nuclei; their logits belong to positions in an image.
DETECTORS: tuple[str, ...] = ("nucleus_detector",)
_FACTORIES["nucleus_detector"] = cast(Any, NucleusDetector)
_FIXED = ("num_classes", "dtype")  # arguments that `create` passes to every factory


def register(name: str, factory: Callable[..., Classifier]) -> None:
    """Register a custom model for `create`, configs, training, evaluation and explanation.

    A run is loaded by the name of its model, so a process must register the model before it loads
    such a run. Commands find a model automatically if its package is installed with an entry point
    of the group `cervix_jax.models` whose value is `module:factory`.

    Args:
      name: value of `config.model.name`; a second registration replaces the factory.
      factory: a function or class that creates the model from the keyword arguments
        `num_classes` and `dtype` (accepted by `**fixed` or by name) and its own options. Options
        are keyword-only with a default; training requires the option `dropout_rate`. Learning
        rates by stage apply to parts named `stem`, `stage1` to `stage4` and `classifier`.

    Raises:
      InputError: the name is one of `NAMES` or `DETECTORS`, or the factory has another signature.
    """
    if name in (*NAMES, *DETECTORS):
        raise InputError(f"model name {name!r} is taken by this package; choose another.")
    _check_factory(name, factory)
    _FACTORIES[name] = factory


def _check_factory(name: str, factory: Callable[..., Classifier]) -> None:
    """Check that a factory has the signature that `register` requires."""
    if not callable(factory):
        raise InputError(f"model {name!r}: {factory!r} cannot be called; give its factory.")
    parameters = _parameters(factory)
    keywords = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
    rest = any(p.kind is p.VAR_KEYWORD for p in parameters)
    missing = {"dropout_rate"} - keywords
    missing |= set() if rest else set(_FIXED) - keywords
    if missing:
        raise InputError(
            f"model {name!r}: its factory takes no keyword-only {', '.join(sorted(missing))}; "
            "define it as factory(*, dropout_rate=0.0, **fixed)."
        )


def _parameters(factory: Callable) -> list[inspect.Parameter]:
    # The signature of an NNX module class does not show its own parameters.
    called = factory.__init__ if inspect.isclass(factory) else factory
    return list(inspect.signature(called).parameters.values())


def known_names() -> tuple[str, ...]:
    """Names accepted by `create`: `NAMES`, registered names, and those of installed packages."""
    return tuple(dict.fromkeys([*_FACTORIES, *plugins.names(plugins.MODELS)]))


def known_attentions() -> tuple[str, ...]:
    """Valid values of the option `attention`, over all models of this package that have it."""
    return tuple(dict.fromkeys([*get_args(densenet.Attention), *get_args(efficientnet.Attention)]))


def create(
    name: str,
    *,
    num_classes: int,
    rngs: nnx.Rngs | None = None,
    dtype: DTypeLike = jnp.float32,
    remat: bool = False,
    norm_groups: int = 0,
    views: int = 1,
    weights: str | Path | Mapping[str, Any] | None = None,
    **options: Any,
) -> Classifier:
    """Create a model in training mode, with random or given weights.

        create("rcan", num_classes=5, rngs=nnx.Rngs(0))
        create("densenet121", num_classes=5, weights="densenet121-a639ec97.pth")
        create("rcan", num_classes=5, weights=load_run("runs/rcan").variables)

    Without `weights` the function works under `jax.jit` and `nnx.eval_shape`.

    Args:
      name: one of `known_names()`.
      num_classes: number of classes, i.e. length of the logits.
      rngs: random keys; one key of the stream `params` is used. Default: `nnx.Rngs(0)`.
      dtype: type of the computation, such as `jnp.bfloat16` or `"bfloat16"`; parameters and
        batch statistics are float32.
      remat: recompute activations in the backward pass to save memory, see
        `layers.rematerialised`.
      norm_groups: number of images per batch normalisation group in training, see
        `layers.BatchNorm`; 0 normalises over the whole batch.
      views: number of squares side by side in an image. The same weights map each square, and the
        classifier receives the features of all, see `Classifier`.
      weights: a file, `package:<name>` or `hf:<repo>` as in `weights.read.read_state_dict`; or a
        torch state dict as arrays by name; or {"params", "stats"} of a run. If these weights have
        another number of classes, the classifier keeps its random weights, and so does an
        attention module that they lack; everything else must match. The model then requires
        images normalised as for these weights (`data.normalization`; torchvision: "imagenet").
      **options: `dropout_rate` for all (0; 0.5 for rcan, 0.2 for
        efficientnet_lite0 and _lite1, 0.3 for _lite2), and
        `attention`: for rcan `"last_layer"` (default) or `"blocks"`, see `DenseNet`; for
        efficientnet_lite0 to _lite2 `"none"` (default) or `"head"`, see `EfficientNet`.

    Returns:
      The model, whose variables are all of the types `nnx.Param` and `nnx.BatchStat`.

    Raises:
      InputError: a name, an option or its value is unknown; the weights are unreadable or do not
        match; `norm_groups` is given for a model with normalisations other than
        `layers.BatchNorm`; or `views` for a model whose classifier is not one of its attributes.
    """
    _check_options(_check_name(name), options)
    check_count("num_classes", num_classes)
    check_count("views", views)
    model = _FACTORIES[name](num_classes=num_classes, dtype=_check_dtype(dtype), **options)
    for _, module in nnx.iter_modules(model):
        if hasattr(module, "remat"):
            cast(Any, module).remat = remat
    if norm_groups:
        _set_norm_groups(name, model, norm_groups, views)
    if views > 1:
        _set_views(name, model, views)
    initialise(model, (rngs or nnx.Rngs(0)).params())
    if weights is not None:
        port.assign(model, _match(model, weights).values)
    return model


def _match(model: Classifier, weights: str | Path | Mapping[str, Any]) -> port.Match:
    if isinstance(weights, str | Path):
        weights = read_state_dict(weights)
    if weights.keys() == {"params", "stats"}:
        return port.match_variables(model, weights, replace_head="if_needed")
    return port.match_state_dict(model, weights, replace_head="if_needed")


def _set_views(name: str, model: Classifier, views: int) -> None:
    """Make a model process several squares per image; its classifier receives all features."""
    linear = getattr(model, "linear", None)
    own = [key for key, value in vars(model).items() if linear is not None and value is linear]
    if not own:
        raise InputError(
            f"model {name}: does not support {views} squares per image, because none of its "
            "attributes is the classifier that `linear` returns; choose another data.resize."
        )
    features, classes = cast(Linear, linear).kernel.shape
    setattr(model, own[0], Linear(views * features, classes))
    model.views = views


def _set_norm_groups(name: str, model: Classifier, images: int, views: int) -> None:
    for path, module in nnx.iter_modules(model):
        own = any(isinstance(value, nnx.BatchStat) for value in vars(module).values())
        if own and not isinstance(module, BatchNorm):
            raise InputError(
                f"model {name}: its {'/'.join(map(str, path))} is a {type(module).__name__}, which "
                f"does not support norm_groups={images}; use cervix_jax.models.layers.BatchNorm "
                "there, or norm_groups=0."
            )
        if hasattr(module, "norm_groups"):
            # For a normalisation, whose batch contains the squares of all images.
            squares = images * views if isinstance(module, BatchNorm) else images
            cast(Any, module).norm_groups = squares


def _check_name(name: str) -> str:
    if name not in _FACTORIES or name in (*NAMES, *DETECTORS):
        offered = plugins.load(
            plugins.MODELS,
            "model",
            name,
            taken=(*NAMES, *DETECTORS),
            check=lambda factory: _check_factory(name, factory),
        )
        if offered is not None:
            _FACTORIES[name] = offered
    if name not in _FACTORIES:
        known = known_names()
        near = difflib.get_close_matches(str(name).lower(), known, 1, 0.4)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise InputError(f"no model is called {name!r}; {hint}choose one of {', '.join(known)}")
    return name


def _check_options(name: str, options: dict[str, Any]) -> None:
    parameters = _parameters(_FACTORIES[name])
    known = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in _FIXED]
    for option in options:
        if option not in known:
            near = difflib.get_close_matches(option, known, 1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise InputError(
                f"model {name} has no option {option!r}; {hint}it takes {', '.join(known)}"
            )


def _check_dtype(dtype: DTypeLike) -> jnp.dtype:
    try:
        checked = jnp.dtype(dtype)
    except TypeError:
        checked = None
    if checked is None or not jnp.issubdtype(checked, jnp.floating):
        raise InputError(f"model dtype is {dtype!r}; give float32, bfloat16 or float16")
    return checked
