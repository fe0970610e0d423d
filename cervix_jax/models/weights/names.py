"""Names of published weights in PyTorch, timm and the papers' code, and their translation.

A variable's torch name is its path here, joined by dots, with `weight` for kernels and scales and
`running_mean` and `running_var` for the statistics. These are the names of torchvision's (and
timm's) ResNet-50 and DenseNet-121, of `densenet_pytorch`'s, of timm's `tf_efficientnet_lite0`
to `_lite2`, and of the public RCAN and RAN-92 but for what `ALIASES` lists.
"""

import re
from collections.abc import Iterable, Sequence

_LEAVES = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}
# Blocks per group: of EfficientNet-Lite0, and of Lite1 and Lite2.
_LITE_REPEATS = [(1, 2, 2, 3, 3, 4, 1), (1, 3, 3, 4, 4, 5, 1)]


def torch_name(path: Sequence[object]) -> str:
    """Return a variable's torch name: `fc/kernel` is `fc.weight`, `bn1/mean` `bn1.running_mean`."""
    *parents, leaf = map(str, path)
    return ".".join([*parents, _LEAVES.get(leaf, leaf)])


def canonical_names(names: Iterable[str]) -> dict[str, str]:
    """Translate names of older torch versions and of public code to the torch names used here.

    Args:
      names: all names of a state dict. A block of an EfficientNet is numbered consecutively over
        all groups, so its position depends on the depth of the network.
    """
    names = list(names)
    numbers = [int(found[1]) for name in names if (found := _LITE_BLOCK.match(name))]
    patterns = _PATTERNS + _LITE_PATTERNS[max(numbers, default=0) >= sum(_LITE_REPEATS[0])]
    translated = {}
    for name in names:
        new = name.removeprefix("module.")
        for pattern, replacement in patterns:
            new = pattern.sub(replacement, new)
        translated[name] = new
    return translated


def canonical_name(name: str) -> str:
    """`canonical_names` of one name; block numbers below 16 count as in EfficientNet-Lite0."""
    return canonical_names([name])[name]


def _mask_aliases(module: str, levels: int) -> list[tuple[str, str]]:
    """RAN-92 numbers the units of a mask by order of execution; this package numbers by level."""
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


def _lite_aliases(repeats: Sequence[int]) -> list[tuple[str, str]]:
    """`efficientnet_lite_pytorch` numbers all blocks consecutively, and its layers from zero."""
    expanding = {
        "_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2",
        "_project_conv": "conv_pwl", "_bn2": "bn3",
    }  # fmt: skip
    first = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    places = [(group, i) for group, count in enumerate(repeats) for i in range(count)]
    return [
        (rf"^_blocks\.{number}\.{theirs}\.", f"blocks.{group}.{index}.{ours}.")
        for number, (group, index) in enumerate(places)
        for theirs, ours in (expanding if number else first).items()
    ]


ALIASES: dict[str, list[tuple[str, str]]] = {
    # torchvision before 0.3 wrote norm.1 for norm1; the public RCAN wraps the last dense layer and
    # its attention, and the classifier and its dropout, in nn.Sequential.
    "densenet121 and rcan": [
        (r"(denselayer\d+)\.(?:0\.)?(norm|conv)\.?([12])\.", r"\1.\2\3."),
        (r"denselayer\d+\.1\.conv_du\.0\.", "attention.squeeze."),
        (r"denselayer\d+\.1\.conv_du\.2\.", "attention.excite."),
        (r"^classifier\.1\.", "classifier."),
    ],
    "ran92": [
        (r"^mpool2\.0\.", "norm."),
        *_mask_aliases("attention_module1", 3),
        *_mask_aliases("attention_module2", 2),
        *_mask_aliases("attention_module3", 1),
    ],
    "efficientnet_lite0 to _lite2": [
        (r"^_conv_stem\.", "conv_stem."),
        (r"^_bn0\.", "bn1."),
        (r"^_conv_head\.", "conv_head."),
        (r"^_bn1\.", "bn2."),
        (r"^_fc\.", "classifier."),
    ],
}
"""Other spellings, as pattern and replacement; a name of one network fits no pattern of another."""

_PATTERNS = [(re.compile(pattern), new) for table in ALIASES.values() for pattern, new in table]
_LITE_BLOCK = re.compile(r"(?:module\.)?_blocks\.(\d+)\.")
_LITE_PATTERNS = [
    [(re.compile(pattern), new) for pattern, new in _lite_aliases(repeats)]
    for repeats in _LITE_REPEATS
]
