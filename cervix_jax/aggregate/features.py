"""What a trained run makes of the images of a data set, before and after its last layer."""

import numpy as np
from tqdm import tqdm

from cervix_jax.data.experiment import ExperimentData
from cervix_jax.distributed import make_mesh
from cervix_jax.runs.inference import make_features
from cervix_jax.runs.run import Run


def extract(
    run: Run, data: ExperimentData, indices: np.ndarray, *, progress: str = ""
) -> tuple[np.ndarray, np.ndarray]:
    """Features and logits of some examples, by one process.

    Args:
      run: the trained run.
      data: its data.
      indices: int [N], positions in the data set.
      progress: what the bar is called; "" shows none.

    Returns:
      `pre_logits` float32 [N, D] and logits float32 [N, C], in the order of `indices`.
    """
    forward = make_features(
        run.graphdef, run.config.model.normalization, make_mesh(), ("pre_logits", "logits")
    )
    size = run.config.eval_batch_size
    batches = data.pipeline.eval_batches(indices, size)
    found = []
    bar = tqdm(batches, desc=progress, total=-(-len(indices) // size), disable=not progress)
    for batch in bar:
        kept = np.asarray(batch["mask"]) > 0
        results = forward(run.variables, batch["image"])
        found.append([np.asarray(results[name])[kept] for name in ("pre_logits", "logits")])
    features, logits = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return features, logits
