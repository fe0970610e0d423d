"""What is summed over an epoch on the device: clu collections."""

import flax.struct
from clu import metrics


@flax.struct.dataclass
class LoopMetrics(metrics.Collection):
    """Loss and accuracy, summed on the device over an epoch; a `mask` leaves examples out."""

    loss: metrics.Average.from_output("loss")  # pyright: ignore[reportInvalidTypeForm]
    accuracy: metrics.Accuracy
