r"""ResNet-50, the paper's baselines 1 to 3, trained from scratch.

Without data files, on the embedded phantom:

  python -m cervix_jax.main --config=configs/resnet50.py

On real cells:

  python -m cervix_jax.main --config=configs/resnet50.py:sipakmed/single_cell \
      --config.data.manual_dir=/path/to/SIPaKMeD
"""

import ml_collections

from cervix_jax.config.base import base_config


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """The config; `arg` is `<data set>[,recipe=paper]`."""
    config = base_config(arg)
    config.model.name = "resnet50"
    return config
