r"""Residual Attention Network-92 (Wang et al., CVPR 2017), the paper's model 1.

Without data files, on the embedded phantom:

  python -m cervix_jax.main --config=configs/ran92.py

On real cells:

  python -m cervix_jax.main --config=configs/ran92.py:sipakmed/single_cell \
      --config.data.manual_dir=/path/to/SIPaKMeD
"""

import ml_collections

from cervix_jax.config.base import base_config


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """The config; `arg` is `<data set>[,recipe=paper]`."""
    config = base_config(arg)
    config.model.name = "ran92"
    config.model.dropout = 0.0  # the published network has none, unlike the paper's other three
    config.image_size = max(config.image_size, 64)  # its mask branches halve the image six times
    return config
