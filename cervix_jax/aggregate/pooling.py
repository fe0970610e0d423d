"""Attention-based multiple-instance pooling (Ilse, Tomczak and Welling, ICML 2018)."""

import jax
import jax.numpy as jnp
from flax import nnx

HIDDEN = 64


class AttentionPooling(nnx.Module):
    """Class logits of a bag from the features and the logits of its instances.

    The weights of the instances are gated attention (eq. 9), a_k = softmax_k(w'(tanh(V h_k) *
    sigmoid(U h_k))). The logits of the bag are the weighted mean of the instances' own logits, to
    which a linear map of the weighted mean of their features is added. w and that map begin at
    zero: what is learned starts from the plain mean of the logits.

    Args:
      num_features: D.
      num_classes: C.
      rngs: for the weights ("params") and the dropout.
      dropout_rate: of the features, in training.
    """

    def __init__(
        self, num_features: int, num_classes: int, *, rngs: nnx.Rngs, dropout_rate: float = 0.25
    ):
        zeros = nnx.initializers.zeros
        self.tanh = nnx.Linear(num_features, HIDDEN, rngs=rngs)
        self.gate = nnx.Linear(num_features, HIDDEN, rngs=rngs)
        self.score = nnx.Linear(HIDDEN, 1, use_bias=False, kernel_init=zeros, rngs=rngs)
        self.classify = nnx.Linear(num_features, num_classes, kernel_init=zeros, rngs=rngs)
        self.dropout = nnx.Dropout(dropout_rate, rngs=rngs)

    def __call__(
        self,
        features: jax.Array,
        logits: jax.Array,
        mask: jax.Array,
        *,
        rngs: nnx.Rngs | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        """Pool B bags of up to K instances.

        Args:
          features: float [B, K, D].
          logits: float [B, K, C], of the instances.
          mask: bool [B, K], which instances there are; at least one a bag.
          rngs: for the dropout, in training.

        Returns:
          Logits of the bags [B, C], and the attention [B, K], which sums to 1 over each bag.
        """
        features = self.dropout(features, rngs=rngs)
        hidden = jnp.tanh(self.tanh(features)) * jax.nn.sigmoid(self.gate(features))
        attention = jax.nn.softmax(self.score(hidden)[..., 0], axis=-1, where=mask)
        pooled = jnp.einsum("bk,bkd->bd", attention, features)
        mean = jnp.einsum("bk,bkc->bc", attention, logits)
        return mean + self.classify(pooled), attention
