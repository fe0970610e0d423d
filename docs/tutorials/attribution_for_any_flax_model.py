# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Attribution for any Flax model
#
# An attribution map gives each pixel of an image a value: how much the score of a class depends
# on that pixel. This tutorial makes such maps for a small Flax network that classifies
# handwritten digits, and then measures whether the maps can be trusted. It takes about a minute
# on two CPU cores.
#
# Nothing here is specific to cells. The functions of `cervix_jax.explain` need a function from
# images `[N, H, W, 3]` to logits `[N, C]`: a plain function, an `nnx` module or a bound `linen`
# module.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from flax import nnx
from sklearn.datasets import load_digits

from cervix_jax import explain
from cervix_jax.explain import measures

# %% [markdown]
# ## Data
#
# scikit-learn has 1,797 digits of 8 x 8 pixels. They are enlarged to 24 x 24 pixels with three
# equal channels, because the functions expect colour images. The last 300 are test images.

# %%
digits = load_digits()
images = np.kron(digits.images / 16, np.ones((1, 3, 3)))[..., None].repeat(3, -1)
images, labels = images.astype(np.float32), digits.target.astype(np.int32)
train, test = slice(0, -300), slice(-300, None)

# %% [markdown]
# ## Network
#
# Two features of this network are needed only by some functions:
#
# - Grad-CAM needs the feature maps. The network returns `(logits, features)`, and it adds what it
#   receives as `perturbations` to the feature map of that name.
# - The randomisation of the weights goes stage by stage. The layers are therefore called `stem`,
#   `stage1`, `stage2` and `classifier`.


# %%
class DigitNetwork(nnx.Module):
    """Three convolutions, mean pooling and a linear layer."""

    def __init__(self, rngs: nnx.Rngs):
        self.stem = nnx.Conv(3, 16, (3, 3), rngs=rngs)
        self.stage1 = nnx.Conv(16, 32, (3, 3), strides=2, rngs=rngs)
        self.stage2 = nnx.Conv(32, 64, (3, 3), strides=2, rngs=rngs)
        self.classifier = nnx.Linear(64, 10, rngs=rngs)

    def __call__(self, x, perturbations=None):
        """Logits [N, 10] and feature maps by name, of images [N, H, W, 3]."""
        features = {}
        for name in ("stem", "stage1", "stage2"):
            x = nnx.relu(getattr(self, name)(x)) + (perturbations or {}).get(name, 0)
            features[name] = x
        return self.classifier(x.mean((1, 2))), features


model = DigitNetwork(nnx.Rngs(0))
optimizer = nnx.Optimizer(model, optax.adam(3e-3), wrt=nnx.Param)


@nnx.jit
def train_step(model, optimizer, x, y):
    """One step of gradient descent; gives the loss."""

    def loss(model):
        return optax.softmax_cross_entropy_with_integer_labels(model(x)[0], y).mean()

    value, gradient = nnx.value_and_grad(loss)(model)
    optimizer.update(model, gradient)
    return value


rng = np.random.default_rng(0)
for _ in range(25):
    order = rng.permutation(1497)[:1472].reshape(-1, 64)
    for batch in order:
        train_step(model, optimizer, images[train][batch], labels[train][batch])
accuracy = float((model(jnp.asarray(images[test]))[0].argmax(-1) == labels[test]).mean())
print(f"accuracy on 300 test images: {accuracy:.3f}")

# %% [markdown]
# ## Maps
#
# Each map explains the logit of the true digit. Integrated gradients need a baseline: an image
# without any stroke. Here it is black, the colour of the background, so `baselines=0.0`.

# %%
chosen, targets = images[test][:40], labels[test][:40]
maps = {
    "saliency": explain.saliency(model, chosen, targets),
    "integrated gradients": explain.integrated_gradients(
        model, chosen, targets, baselines=0.0, steps=64
    ),
    "Grad-CAM": explain.grad_cam(model, chosen, targets, feature_map="stage1"),
}


def pixels(values: np.ndarray) -> np.ndarray:
    """One value per pixel: the sum over the channels."""
    return values.sum(-1) if values.ndim == 4 else values


figure, axes = plt.subplots(4, 5, figsize=(7.5, 6.4), layout="constrained")
for column in range(5):
    axes[0, column].imshow(chosen[column])
    for row, (name, values) in enumerate(maps.items(), 1):
        shown = pixels(values)[column]
        limit = np.abs(shown).max()
        axes[row, column].imshow(shown, cmap="RdBu_r", vmin=-limit, vmax=limit)
        axes[row, 0].set_ylabel(name)
for axis in axes.flat:
    axis.set(xticks=[], yticks=[])
plt.show()

# %% [markdown]
# Red pixels raise the score of the true digit, blue pixels lower it. Every map has its own scale.
#
# ## Completeness
#
# The values of integrated gradients must add up to the difference between the score of the image
# and the score of the baseline. A difference near 0 means that 64 steps were enough.

# %%
found = measures.completeness(model, chosen, targets, maps["integrated gradients"], baselines=0.0)
print(f"largest difference: {np.abs(found.delta).max():.4f}")

# %% [markdown]
# ## Deletion and insertion
#
# Deletion replaces pixels by the baseline, those with the highest values first, and follows the
# probability of the digit. A good map lets the probability fall early: a small area under the
# curve. Insertion starts with the baseline and adds pixels: a large area is good.
#
# Maps of random values are the control: they ignore the network.

# %%
maps["random values"] = rng.normal(size=chosen.shape[:3]).astype(np.float32)
figure, axes = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
areas = {}
for axis, curve_of in zip(axes, (measures.deletion, measures.insertion), strict=True):
    for name, values in maps.items():
        curve = curve_of(model, chosen, targets, values, baselines=0.0, steps=24)
        areas[curve_of.__name__, name] = float(curve.auc.mean())
        axis.plot(curve.fractions, curve.scores.mean(0), label=name)
    axis.set(title=curve_of.__name__, xlabel="share of pixels replaced", ylabel="probability")
axes[0].legend(fontsize=8)
plt.show()
for name in maps:
    print(
        f"{name:<22} deletion {areas['deletion', name]:.3f}  "
        f"insertion {areas['insertion', name]:.3f}"
    )

# %% [markdown]
# Saliency and integrated gradients do much better than random values. Grad-CAM does not do so for
# this network: it weighs whole feature maps, and a thin stroke is finer than its grid of 12 x 12.
# This is why a method must be measured on the network at hand before its maps are used.
#
# ## Randomised weights
#
# A map that explains the network must change if the weights change. The weights are replaced by
# random ones, from the last layer down, and the new map is compared with the first by rank
# correlation: 1 means the same map, 0 means no relation (Adebayo et al., 2018).

# %%
fresh = DigitNetwork(nnx.Rngs(1))
methods = {"saliency": explain.saliency, "integrated gradients": explain.integrated_gradients}
for name, method in methods.items():
    given = {"baselines": 0.0} if method is explain.integrated_gradients else {}
    stages, similar = measures.parameter_randomisation(
        model, chosen, targets, maps[name], method=method, fresh=fresh, **given
    )
    shown = similar.spearman_signed.mean(1)
    print(f"{name:<22}", {s: round(float(v), 2) for s, v in zip(stages, shown, strict=True)})

# %% [markdown]
# This network has no `stage3` and `stage4`, so nothing changes there. With all weights random,
# the correlation is low: these maps depend on what the network learned.
#
# ## A plain function
#
# Any function of images works too, as long as JAX can differentiate it.

# %%
weights = jnp.asarray(rng.normal(size=(24 * 24 * 3, 10)).astype(np.float32))


def linear_model(x: jax.Array) -> jax.Array:
    """Logits of a linear model."""
    return x.reshape(len(x), -1) @ weights


gradient = explain.saliency(linear_model, chosen[:2], targets[:2])
expected = np.asarray(weights[:, targets[0]]).reshape(24, 24, 3)
np.testing.assert_allclose(gradient[0], expected, rtol=1e-4, atol=1e-5)
print("the saliency of a linear model is its weights")
