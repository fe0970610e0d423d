r"""A nucleus detector: where nuclei are in a field, for `predict --field=cells`.

On the phantom, without data files (some minutes on two CPU cores):

  python -m cervix_jax.main --config=configs/nuclei.py --workdir=runs/nuclei

On the experts' points of CRIC, the contours of SIPaKMeD's fields and the phantom; the folder holds
a folder for each:

  python -m cervix_jax.main --config=configs/nuclei.py:nuclei/fields \
      --config.data.manual_dir=/path/to/fields --workdir=runs/nuclei

Then `--detector=runs/nuclei` of `predict` takes it. docs/detection.md has what to expect.
"""

import ml_collections

from cervix_jax.config.base import base_config, parse_arg

DATASETS = ("nuclei/phantom", "nuclei/fields")


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """The config; `arg` is a data set of `DATASETS`."""
    dataset, _ = parse_arg(arg, first=DATASETS[0], choices=DATASETS)
    config = base_config(dataset)
    config.model.name = "nucleus_detector"
    config.image_size = 256
    config.batch_size = 8
    config.eval_batch_size = 8
    config.num_epochs = 30
    config.learning_rate = 3e-3
    config.loss.label_smoothing = 0.0
    config.checkpoint.best_metric = "loss"
    config.augment.update(
        {
            "rotation_degrees": 180.0,
            "scale": 0.25,
            "flip": True,
            "fill": "reflect",
            "stain_jitter": 0.1,
            "contrast": 0.2,
            "brightness": 0.1,
        }
    )
    return config
