"""The eleven rows of the paper's table (arXiv 2106.00557) as configs, and additional rows."""

import dataclasses
import importlib.util
from collections.abc import Mapping
from typing import Any

import ml_collections

from cervix_jax.config.files import packaged_config
from cervix_jax.data.classes import HERLEV, SIPAKMED, ClassSystem
from cervix_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes:
      id: its name for `--only`.
      title: the network in words.
      config: the config file and its argument, in the form of `--config`.
      init: initial weights of the paper, and here if available: "scratch", "imagenet", or the id of
        another row.
      correct: number of right answers on the paper's test images; None for additional rows.
      tested: number of the paper's test images.
      protocols: split protocols of the row.
      f1: the paper's F1 by class; empty if it gives none.
      refit: whether the validation images are also used for training.
      fields: config fields that differ from `config`.
    """

    id: str
    title: str
    config: str
    init: str
    correct: int | None = None
    tested: int | None = None
    protocols: tuple[str, ...] = ("paper", "cluster", "block")
    f1: Mapping[str, float] = dataclasses.field(default_factory=dict)
    refit: bool = False
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def dataset(self) -> str:
        """The data set, `<builder>/<config>`."""
        named = self.config.partition(":")[2].partition(",")[0]
        return named if "/" in named else "herlev/default"

    @property
    def scopes(self) -> frozenset[str]:
        """Scopes of overrides that apply to this row (the text before the colon)."""
        own = {"", self.id, self.dataset, self.dataset.partition("/")[0]}
        return frozenset(own | {"paper"} if self.is_paper else own)

    @property
    def is_paper(self) -> bool:
        """Whether the row is in the paper."""
        return self.correct is not None


_MULTI, _MASKED = "sipakmed/multi_cell,recipe=paper", "sipakmed/multi_cell_masked,recipe=paper"
_SINGLE = "sipakmed/single_cell,recipe=paper"
_RCAN = "RCAN"
_RAN = "Residual Attention Network-92"
_LITE = "EfficientNet-Lite0"
# At 128 pixels the square of a fixed scale shows 51 micrometres, for Herlev 77, as some cells are
# large.
_VIEWS = {"data.resize": "stretch+scale", "data.microns_per_pixel": 0.4}
_HERLEV_VIEWS = _VIEWS | {"data.microns_per_pixel": 0.6}
_OWN = ("paper", "paper_clusters", "cluster", "joined", "block")
_NO_BLOCKS = ("paper", "cluster")  # Herlev's slides have no order


def _cric() -> tuple[Row, ...]:
    """Rows for fields and cells of CRIC, for every network; fields are never divided."""
    # As for RCAN, so that RCAN and DenseNet-121 differ in channel attention only.
    dropout = {"model.dropout": 0.5}
    networks = (
        ("resnet50", "ResNet-50", "resnet50.py", "scratch", dropout),
        ("densenet121", "DenseNet-121", "densenet121.py", "imagenet", dropout),
        ("rcan", "RCAN, attention after the last layer", "rcan.py", "imagenet", {}),
        ("rcan_blocks", "RCAN, attention after every block", "rcan.py", "imagenet",
         {"model.attention": "blocks"}),
        ("efficientnet_lite0", _LITE, "efficientnet_lite0.py", "imagenet", {}),
    )  # fmt: skip
    return tuple(
        Row(
            f"cric_{view}_{network}",
            title,
            f"{file}:cric/{view}",
            init,
            protocols=("cluster",),
            refit=True,
            fields=fields,
        )
        for view in ("cell", "field")
        for network, title, file, init, fields in networks
    )


def _by_class(system: ClassSystem, *values: float) -> dict[str, float]:
    return dict(zip(system.names, values, strict=True))


# The paper gives percentages, which are these counts of right answers after rounding. Its F1 of
# model 6 for the superficial-intermediate class is computed from its precision and recall.
ROWS = (
    Row("baseline1", "ResNet-50", f"resnet50.py:{_MULTI}", "scratch", 86, 101,
        f1=_by_class(SIPAKMED, 0.869, 0.744, 0.839, 0.960, 0.846)),
    Row("baseline2", "ResNet-50", f"resnet50.py:{_SINGLE}", "scratch", 389, 409,
        f1=_by_class(SIPAKMED, 0.963, 0.911, 0.950, 0.994, 0.988)),
    Row("baseline3", "ResNet-50", f"resnet50.py:{_MASKED}", "scratch", 87, 101),
    Row("transfer", "ResNet-50", "transfer_herlev.py:resnet50,recipe=paper", "baseline2", 424, 736,
        _NO_BLOCKS,
        f1=_by_class(HERLEV, 0.862, 0.803, 0.500, 0.683, 0.410, 0.367, 0.604)),
    Row("own_transfer", "ResNet-50, our recipe", "transfer_herlev.py:resnet50", "baseline2",
        protocols=_NO_BLOCKS),
    Row("model1", _RAN, f"ran92.py:{_MULTI}", "scratch", 85, 101),
    Row("model2", "DenseNet-121", f"densenet121.py:{_MULTI}", "imagenet", 90, 101,
        f1=_by_class(SIPAKMED, 0.898, 0.809, 0.929, 0.957, 0.889)),
    Row("model3", "DenseNet-121", f"densenet121.py:{_SINGLE}", "imagenet", 392, 409,
        f1=_by_class(SIPAKMED, 0.958, 0.896, 0.943, 0.994, 0.977)),
    Row("model4", "DenseNet-121", f"densenet121.py:{_MASKED}", "imagenet", 91, 101),
    Row("model5", _RCAN, f"rcan.py:{_MULTI}", "imagenet", 92, 101,
        f1=_by_class(SIPAKMED, 0.978, 0.869, 0.896, 1.000, 0.889)),
    Row("model6", _RCAN, f"rcan.py:{_SINGLE}", "imagenet", 394, 409,
        f1=_by_class(SIPAKMED, 0.958, 0.923, 0.956, 0.994, 0.976)),
    Row("model7", _RCAN, f"rcan.py:{_MASKED}", "imagenet", 88, 101),
    Row("own", _LITE, "efficientnet_lite0.py:sipakmed/single_cell", "imagenet",
        protocols=_OWN, refit=True),
    Row("own_views", f"{_LITE}, two views", "efficientnet_lite0.py:sipakmed/single_cell",
        "imagenet", protocols=_OWN, refit=True, fields=_VIEWS),
    Row("own_herlev", _LITE, "transfer_herlev.py", "imagenet", protocols=_NO_BLOCKS),
    Row("own_herlev_views", f"{_LITE}, two views", "transfer_herlev.py", "imagenet",
        protocols=_NO_BLOCKS, fields=_HERLEV_VIEWS),
    *_cric(),
)  # fmt: skip


def find_row(name: str) -> Row:
    """A row by its id.

    Raises:
      InputError: there is no row with that id.
    """
    for row in ROWS:
        if row.id == name:
            return row
    raise InputError(f"--only={name}: no such row; choose from {', '.join(r.id for r in ROWS)}.")


def row_config(row: Row) -> ml_collections.ConfigDict:
    """The config of a row, without initial weights that the user has to provide.

    Raises:
      InputError: the config files are not installed.
    """
    name, _, argument = row.config.partition(":")
    path = packaged_config(name)
    if path is None:
        raise InputError(f"configs/{name}: not found beside the package; install it again.")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None  # always true for a file that ends in .py
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config(argument)
    config.split.refit = row.refit
    config.update_from_flattened_dict(row.fields)
    return config
