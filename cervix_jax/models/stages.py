"""The depth of a variable in its network: stem 0, stages 1 to 4, head 5."""

import re
from collections.abc import Sequence

from cervix_jax.errors import InputError

STEM, HEAD = 0, 5
_TABLE: list[tuple[re.Pattern, int]] = [
    (re.compile(pattern), stage)
    for pattern, stage in [
        # The classifier, and attention added to a published network: parts without published
        # weights.
        (r"^(fc|classifier)/", HEAD),
        (r"(^|/)(rcab\d?|attention)/", HEAD),
        (r"^(stem|conv1|conv_stem|bn1|features/conv0|features/norm0)/", STEM),
        (r"^(norm|features/norm5|conv_head|bn2)/", 4),
        (r"^blocks/[01]/", 1),
        (r"^blocks/2/", 2),
        (r"^blocks/[34]/", 3),
        (r"^blocks/[56]/", 4),
        (r"^residual_block[456]/", 4),
        *[
            (rf"^(stage|layer|features/denseblock|features/transition|residual_block){n}/", n)
            for n in range(1, 5)
        ],
        *[(rf"^attention_module{n}(_\d)?/", n) for n in range(1, 4)],
    ]
]


def stage_of(path: Sequence[str | int]) -> int:
    """Return the stage of the variable at `path`, e.g. 2 for `("layer2", 0, "conv1", "kernel")`.

    A normalisation or convolution between the last stage and the pooling belongs to stage 4. Stage
    5, the head, is the classifier together with the attention that `rcan` and the EfficientNets
    add to a published architecture. A custom model names its parts `stem`, `stage1` to `stage4` and
    `classifier`.

    Raises:
      InputError: the name does not identify a stage.
    """
    name = "/".join(map(str, path))
    for pattern, stage in _TABLE:
        if pattern.search(name):
            return stage
    raise InputError(
        f"variable {name}: its stage is not known, so learning rates and randomisation by stage "
        "cannot be used; name the model's parts stem, stage1 to stage4 and classifier."
    )
