"""Fixtures that the whole suite shares."""

import os
from pathlib import Path

import jax
import pytest
from absl import flags
from hypothesis import settings
from selection import tries

from cervix_jax import models
from cervix_jax.config.base import base_config
from cervix_jax.models.densenet import DenseNet
from cervix_jax.training.run import train_and_evaluate

TESTS = Path(__file__).parent
# These compile many programs and run each once or twice,
COMPILED_QUICKLY = ("explain", "models", "training/test_norm_groups.py")
# and these take longer to run than to compile.
COMPILED_WELL = ("explain/test_captum_parity.py",)

flags.FLAGS.mark_as_parsed()
# The machine may be busy, so that no example has a deadline.
settings.register_profile("cervix_jax", deadline=None, max_examples=tries(100))
# With CI set, Hypothesis draws the same examples at every run; this profile draws new ones.
settings.register_profile(
    "fuzz", deadline=None, max_examples=tries(100), derandomize=False, print_blob=True
)
settings.load_profile("cervix_jax")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Let XLA optimise as it does for users, except where a test gains by quick compilation.

    A program that is compiled quickly rounds differently. It must not stay in memory for the tests
    that follow: JAX finds it again whatever the setting. Here, since no fixture comes earlier.
    """
    path = item.path.relative_to(TESTS)
    quickly = _is_below(path, COMPILED_QUICKLY) and not _is_below(path, COMPILED_WELL)
    if quickly != jax.config.read("jax_disable_most_optimizations"):
        jax.config.update("jax_disable_most_optimizations", quickly)
        jax.clear_caches()


def _is_below(path: Path, places: tuple[str, ...]) -> bool:
    return any(path.is_relative_to(place) for place in places)


def pytest_terminal_summary(terminalreporter):
    """How the cases of bad input ended, where any ran; here, since it also sums up workers'."""
    found = {
        outcome: sum(
            "test_bad_input.py::test_bad_input[" in report.nodeid
            for report in terminalreporter.getreports(outcome)
        )
        for outcome in ("passed", "failed", "error")
    }
    if total := sum(found.values()):
        terminalreporter.write_line(f"bad input: {total} cases, {found['passed']} passed")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the real images and the paper's numbers, or skip."""
    given = os.environ.get("CERVIX_SHARED")
    path = Path(given) if given else Path(__file__).parents[2] / "shared"
    if not (path / "data").is_dir():
        pytest.skip("no folder of real images: set CERVIX_SHARED")
    return path


@pytest.fixture(scope="session")
def prepared(tmp_path_factory) -> Path:
    """Where data sets are prepared once for the whole session."""
    return tmp_path_factory.mktemp("prepared")


@pytest.fixture(scope="session", autouse=True)
def compiled(tmp_path_factory):
    """Compile each program once for all tests, workers and processes that they start.

    JAX_COMPILATION_CACHE_DIR keeps what is compiled for the next session too.
    """
    given = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    base = tmp_path_factory.getbasetemp()
    session = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = given or str(session / "compiled")
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_COMPILATION_CACHE_DIR", folder)
        yield


def register_tiny_model(patch: pytest.MonkeyPatch) -> str:
    """Adds a DenseNet with one layer a block, which compiles in seconds; gives its name."""

    def tiny(*, attention: str = "none", dropout_rate: float = 0.0, **fixed):
        return DenseNet(
            blocks=(1, 1, 1, 1), attention=attention, dropout_rate=dropout_rate, **fixed
        )

    patch.setattr(models, "_FACTORIES", dict(models._FACTORIES))
    models.register("tiny", tiny)
    return "tiny"


def make_tiny_config(model: str, data_dir):
    """The config of a run of seconds: 40 phantom cells, 32 pixels, 3 epochs of 3 steps."""
    config = base_config("cervix_phantom/single_cell")
    config.model.name = model
    config.model.dropout = 0.2
    config.batch_size = config.eval_batch_size = 8
    config.num_epochs = 3
    config.image_size = 32
    config.data.data_dir = str(data_dir)
    config.data.settings.clusters_per_class = 4
    config.data.settings.cells_per_cluster = 2
    config.split.folds = 4
    return config


@pytest.fixture(scope="session")
def tiny_config(prepared):
    """Makes a fresh copy of the tiny config."""
    with pytest.MonkeyPatch.context() as patch:
        name = register_tiny_model(patch)
        yield lambda: make_tiny_config(name, prepared)


@pytest.fixture(scope="session")
def trained(tmp_path_factory, tiny_config):
    """The folder of a finished run of `tiny_config`, and its test report."""
    folder = tmp_path_factory.mktemp("trained")
    return folder, train_and_evaluate(tiny_config(), folder)
