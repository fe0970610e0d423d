"""The same weights, the same images: maps here and in Captum."""

import importlib
from pathlib import Path

import numpy as np
import pytest
from explained_functions import normal
from flax import nnx

from cervix_jax import explain, models
from cervix_jax.models.resnet import ResNet
from cervix_jax.models.weights.port import load_torch_state_dict

torch = pytest.importorskip("torch")
attr = pytest.importorskip("captum.attr")
torch_small_resnet = pytest.importorskip("torch_small_resnet")

pytestmark = [pytest.mark.torch, pytest.mark.slow]

IMAGES, TARGETS = normal(2, 64, 64, 3), np.array([3, 1])
TORCH_TARGETS = torch.from_numpy(TARGETS)
BASELINE = normal(64, 64, 3, seed=7)
TORCH_BASELINE = torch.from_numpy(BASELINE.transpose(2, 0, 1).copy())[None]
STEPS = 4


def batch(images=IMAGES):
    return torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).requires_grad_()


@pytest.fixture(scope="module")
def twins():
    twin = torch_small_resnet.make(5)
    model = ResNet(num_classes=5, blocks=(1, 1, 1, 1))
    load_torch_state_dict(model, {k: v.numpy().copy() for k, v in twin.state_dict().items()})
    return model, twin


def assert_same(ours, theirs, factor=1.0):
    theirs = theirs.detach().numpy()
    theirs = theirs.transpose(0, 2, 3, 1) if ours.ndim == 4 else theirs[:, 0]
    ours = factor * ours
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() < 1e-3 * np.abs(theirs).max()
    assert np.abs(theirs).max() > 0


def test_saliency(twins):
    model, twin = twins
    theirs = attr.Saliency(twin).attribute(batch(), target=TORCH_TARGETS, abs=False)
    assert_same(explain.saliency(model, IMAGES, TARGETS), theirs)


@pytest.mark.parametrize(
    ("output", "last"),
    [("probability", torch.nn.Softmax(1)), ("log_probability", torch.nn.LogSoftmax(1))],
)
def test_saliency_of_probabilities(twins, output, last):
    model, twin = twins
    whole = torch.nn.Sequential(twin, last)
    theirs = attr.Saliency(whole).attribute(batch(), target=TORCH_TARGETS, abs=False)
    assert_same(explain.saliency(model, IMAGES, TARGETS, output=output), theirs)


def test_input_x_gradient(twins):
    model, twin = twins
    theirs = attr.InputXGradient(twin).attribute(batch(), target=TORCH_TARGETS)
    assert_same(explain.input_x_gradient(model, IMAGES, TARGETS), theirs)


@pytest.mark.parametrize(
    ("ours", "theirs", "factor"),
    [
        ("gauss_legendre", "gausslegendre", 1.0),
        ("riemann_middle", "riemann_middle", 1.0),
        ("riemann_left", "riemann_left", 1.0),
        ("riemann_right", "riemann_right", 1.0),
        # Captum's weights sum to (n - 1) / n; ours to 1.
        ("trapezoid", "riemann_trapezoid", (STEPS - 1) / STEPS),
    ],
)
def test_integrated_gradients(twins, ours, theirs, factor):
    model, twin = twins
    found = explain.integrated_gradients(
        model, IMAGES, TARGETS, baselines=BASELINE, steps=STEPS, quadrature=ours
    )
    delta = explain.measures.completeness(model, IMAGES, TARGETS, found, baselines=BASELINE).delta
    expected, their_delta = attr.IntegratedGradients(twin).attribute(
        batch(), TORCH_BASELINE, TORCH_TARGETS, n_steps=STEPS, method=theirs,
        return_convergence_delta=True,
    )  # fmt: skip
    assert_same(found, expected, factor)
    if factor == 1.0:
        rise = np.abs(found.sum((1, 2, 3)) - delta).max()
        np.testing.assert_allclose(delta, their_delta.numpy(), atol=1e-3 * rise)


RULES = (
    ("gauss_legendre", "gausslegendre"),
    ("riemann_middle", "riemann_middle"),
    ("riemann_left", "riemann_left"),
    ("riemann_right", "riemann_right"),
    ("trapezoid", "riemann_trapezoid"),
)
BLACK, WHITE = (-2.117904, -2.035714, -1.804444), (2.248908, 2.428571, 2.64)  # of ImageNet


@pytest.fixture(scope="module")
def trained():
    """A twin that has learnt to tell discs by size and colour, here and in torch."""
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 5, 80)
    images = draw.normal(1.5, 0.3, (80, 64, 64, 3)).astype(np.float32)
    row, column = np.mgrid[:64, :64]
    for image, label in zip(images, labels, strict=True):
        y, x = draw.integers(16, 48, 2)
        disc = (row - y) ** 2 + (column - x) ** 2 < (6 + 2 * label) ** 2
        image[disc] = draw.normal([0.4 * label - 1, -1.2, 0.3], 0.3, (disc.sum(), 3))
    twin = torch_small_resnet.make(5).train()
    for module in twin.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.reset_parameters()
            module.reset_running_stats()
    optimizer = torch.optim.Adam(twin.parameters(), 1e-3)
    for step in range(20):
        rows = np.arange(16 * step, 16 * (step + 1)) % len(labels)
        loss = torch.nn.functional.cross_entropy(
            twin(batch(images[rows])), torch.from_numpy(labels[rows])
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.8, "nothing was learnt"
    twin.eval()
    model = ResNet(num_classes=5, blocks=(1, 1, 1, 1))
    load_torch_state_dict(model, {k: v.numpy().copy() for k, v in twin.state_dict().items()})
    return model, twin.double(), images[:2], labels[:2]


@pytest.mark.parametrize("colour", [BLACK, WHITE, (0.0, 0.0, 0.0)], ids=["black", "white", "zero"])
@pytest.mark.parametrize(("ours", "theirs"), RULES)
def test_integrated_gradients_from_one_colour_of_a_trained_network(trained, ours, theirs, colour):
    """Against Captum in float64: a baseline that rounding misses breaks the ties of max-pooling at
    random, which was a fifth of the largest value with rules that begin at the baseline.
    """
    model, twin, images, labels = trained
    colour, steps = np.float32(colour), 8
    found = explain.integrated_gradients(
        model, images, labels, baselines=colour, steps=steps, quadrature=ours
    )
    exact = torch.from_numpy(colour).double()[None, :, None, None].expand(2, 3, 64, 64)
    expected = attr.IntegratedGradients(twin).attribute(
        batch(images).double(), exact, torch.from_numpy(labels), n_steps=steps, method=theirs
    )
    expected = expected.detach().numpy().transpose(0, 2, 3, 1)
    if ours == "trapezoid":
        found *= (steps - 1) / steps
    # In the norm, and not to the last digit: a ReLU within rounding of zero may flip.
    assert np.linalg.norm(found - expected) < 5e-3 * np.linalg.norm(expected)


@pytest.mark.parametrize(("key", "layer"), [("stage4", "layer4"), ("stage2", "layer2")])
def test_grad_cam(twins, key, layer):
    model, twin = twins
    cam = attr.LayerGradCam(twin, getattr(twin, layer))
    theirs = cam.attribute(batch(), target=TORCH_TARGETS)
    small = explain.grad_cam(model, IMAGES, TARGETS, feature_map=key, interpolation="none")
    assert_same(small, theirs)
    large = attr.LayerAttribution.interpolate(theirs, (64, 64), "bilinear")
    assert_same(explain.grad_cam(model, IMAGES, TARGETS, feature_map=key), large)


@pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU")
def test_guided_backpropagation(twins):
    model, twin = twins
    theirs = attr.GuidedBackprop(twin).attribute(batch(), target=TORCH_TARGETS)
    assert_same(explain.guided_backprop(model, IMAGES, TARGETS), theirs)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU")
def test_guided_grad_cam(twins):
    model, twin = twins
    theirs = attr.GuidedGradCam(twin, twin.layer2).attribute(
        batch(), target=TORCH_TARGETS, interpolate_mode="bilinear"
    )
    assert_same(explain.guided_grad_cam(model, IMAGES, TARGETS, feature_map="stage2"), theirs)


@pytest.mark.slow
def test_occlusion(twins):
    model, twin = twins
    theirs = attr.Occlusion(twin).attribute(
        batch(), (3, 20, 24), strides=(3, 15, 20), baselines=TORCH_BASELINE,
        target=TORCH_TARGETS, perturbations_per_eval=16,
    )  # fmt: skip
    ours = explain.occlusion(
        model, IMAGES, TARGETS, baselines=BASELINE, window=(20, 24), stride=(15, 20)
    )
    assert_same(ours, theirs[:, :1])


@pytest.mark.slow
def test_densenet121_at_the_papers_size(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "models")
    torch_twins = importlib.import_module("torch_twins")
    twin = torch_twins.make("densenet121", 5).eval()
    model = models.create("densenet121", num_classes=5, rngs=nnx.Rngs(0), dropout_rate=0.0)
    load_torch_state_dict(model, {k: v.numpy().copy() for k, v in twin.state_dict().items()})
    images = normal(1, 224, 224, 3)
    theirs = attr.IntegratedGradients(twin).attribute(batch(images), 0.0, 2, n_steps=4)
    theirs = theirs.detach().numpy().transpose(0, 2, 3, 1)
    ours = explain.integrated_gradients(model, images, 2, baselines=np.zeros(3), steps=4)
    # In the norm: among 10 million ReLUs some are within rounding of zero and flip, which moves
    # single pixels by 1e-3 of the largest; PyTorch's own float32 is 6e-4 from its float64.
    assert np.linalg.norm(ours - theirs) < 1e-3 * np.linalg.norm(theirs)
