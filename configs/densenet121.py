r"""DenseNet-121, the paper's baseline without attention (models 2 to 4).

Without data files, on the embedded phantom:

  python -m cervix_jax.main --config=configs/densenet121.py

On real cells:

  python -m cervix_jax.main --config=configs/densenet121.py:sipakmed/single_cell \
      --config.data.manual_dir=/path/to/SIPaKMeD
"""

import ml_collections

from cervix_jax.config.base import base_config


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """The config; `arg` is `<data set>[,recipe=paper]`."""
    config = base_config(arg)
    config.model.name = "densenet121"
    return config
