import jax
import numpy as np
import pytest
from flax import nnx
from selection import few

from cervix_jax import models
from cervix_jax.errors import InputError
from cervix_jax.models.stages import HEAD, STEM, stage_of

ATTENTION = {"rcan": "blocks"} | {f"efficientnet_lite{n}": "head" for n in range(3)}


@pytest.mark.parametrize("name", few(models.NAMES, 2))
def test_every_variable_has_the_stage_of_the_outputs_it_reaches(name):
    options = {"attention": ATTENTION[name]} if name in ATTENTION else {}
    model = nnx.eval_shape(
        lambda: models.create(name, num_classes=5, rngs=nnx.Rngs(0), dropout_rate=0.0, **options)
    )
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)
    params = nnx.to_pure_dict(params)
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), np.float32)

    def outputs(params, rest, image):
        merged = nnx.merge(graphdef, params, rest)
        merged.eval()
        logits, out = merged(image)
        return [out["stem"], *[out[f"stage{stage}"] for stage in range(1, 5)], logits]

    rest = nnx.to_pure_dict(rest)
    paths = [[part.key for part in path] for path, _ in jax.tree.leaves_with_path(params)]
    used = [False] * len(paths)
    for stage in range(HEAD + 1):
        closed = jax.make_jaxpr(lambda *a, s=stage: outputs(*a)[s])(params, rest, image)
        needed = needed_inputs(closed.jaxpr)[: len(paths)]
        for index, path in enumerate(paths):
            if needed[index]:
                used[index] = True
                added = {"rcab", "attention", *(f"rcab{n}" for n in range(1, 5))} & set(path)
                assert stage_of(path) <= stage or added, (path, stage)
    expected = {stage_of(path) for path, was in zip(paths, used, strict=True) if was}
    assert expected == set(range(STEM, HEAD + 1))


def needed_inputs(jaxpr):
    """Which inputs of a jaxpr its outputs depend on."""
    needed = {id(var) for var in jaxpr.outvars}
    for equation in reversed(jaxpr.eqns):
        if any(id(var) in needed for var in equation.outvars):
            needed |= {id(var) for var in equation.invars}
    return [id(var) in needed for var in jaxpr.invars]


def test_unknown_variables_are_refused():
    with pytest.raises(InputError, match="mystery/kernel"):
        stage_of(("mystery", "kernel"))


@pytest.mark.parametrize(
    ("path", "stage"),
    [
        (("conv1", 0, "kernel"), 0),
        (("stem", "kernel"), 0),
        (("stage2", "conv", "kernel"), 2),
        (("layer2", 0, "conv1", "kernel"), 2),
        (("features", "denseblock3", "denselayer1", "norm1", "scale"), 3),
        (("features", "transition3", "conv", "kernel"), 3),
        (("features", "denseblock4", "attention", "squeeze", "bias"), 5),
        (("features", "rcab1", "conv1", "kernel"), 5),
        (("features", "norm5", "scale"), 4),
        (("attention_module2_2", "mask", "conv1", "kernel"), 2),
        (("residual_block6", "conv1", "kernel"), 4),
        (("blocks", 4, 0, "conv_dw", "kernel"), 3),
        (("conv_head", "kernel"), 4),
        (("classifier", "bias"), 5),
    ],
)
def test_stages(path, stage):
    assert stage_of(path) == stage
