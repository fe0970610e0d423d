r"""RCAN: DenseNet-121 with residual channel attention, the paper's own network.

Without data files, on the embedded phantom (a few minutes on two CPU cores):

  python -m cervix_jax.main --config=configs/rcan.py

On real cells; `multi_cell` with `recipe=paper` is the paper's model 5:

  python -m cervix_jax.main --config=configs/rcan.py:sipakmed/single_cell \
      --config.data.manual_dir=/path/to/SIPaKMeD

`--config.model.attention=blocks` puts a residual channel attention block after every dense block.
"""

import ml_collections

from cervix_jax.config.base import base_config, parse_arg


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """The config; `arg` is `<data set>[,recipe=paper]`."""
    config = base_config(arg)
    config.model.name = "rcan"
    config.model.attention = "last_layer"
    dataset, recipe = parse_arg(arg)
    # The paper's 0.5 requires more steps than the short run on the phantom has.
    quick = recipe == "default" and dataset.startswith("cervix_phantom/")
    config.model.dropout = 0.2 if quick else 0.5
    return config
