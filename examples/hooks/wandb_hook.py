"""Send the metrics of every epoch to Weights & Biases.

pip install wandb
python -m cervix_jax.main --config=configs/rcan.py --hook=wandb_hook:log

The command finds this file in the working directory. WANDB_PROJECT sets the project.
WANDB_MODE=offline keeps the metrics in `wandb/` until `wandb sync`. A run that is resumed continues
its curve if every start has the same WANDB_RUN_ID, and WANDB_RESUME=allow.
"""

import wandb  # pyright: ignore[reportMissingImports]


def log(step: int, epoch: int, values: dict[str, float]) -> None:
    """One run in W&B for each seed and fold."""
    name = f"seed{values['seed']}-fold{values['fold']}"
    if wandb.run is None or wandb.run.name != name:
        wandb.finish()
        wandb.init(name=name)
    wandb.log(values, step=step)
