"""Order of severity of classes, abnormal classes, and the worst finding in a field."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from cervix_jax.data.classes import coarsen, levels, order_of
from cervix_jax.errors import InputError
from cervix_jax.files.paths import nfc


@dataclasses.dataclass(frozen=True)
class Severity:
    """An order of classes.

    Attributes:
      class_names: C names.
      ranks: int [C], higher is worse; classes may share a rank.
      abnormal: bool [C]; None if the abnormal classes are unknown.
      source: origin of the order.
      known: whether there is an order; without one no class is worse than another.
    """

    class_names: tuple[str, ...]
    ranks: np.ndarray
    abnormal: np.ndarray | None
    source: str
    known: bool = True

    def text(self) -> str:
        """The order in words, from harmless to worst."""
        if not self.known:
            return "unknown, so there is no worst finding; give --severity=harmless,...,worst"
        steps = [
            " = ".join(n for n, r in zip(self.class_names, self.ranks, strict=True) if r == rank)
            for rank in np.unique(self.ranks)
        ]
        return " < ".join(steps)

    def worst(self, probabilities: np.ndarray, least: float) -> tuple[str, float, int] | None:
        """The most severe class that reaches `least` in any row; of equal ranks the more probable.

        Args:
          probabilities: float [n, C], of windows or nuclei.
          least: minimum probability of the class in one of them.

        Returns:
          The class, its greatest probability, and the row of that; None if no class reaches
          `least`, or no order is known.
        """
        if not len(probabilities) or not self.known:
            return None
        greatest = probabilities.max(0)
        reached = np.flatnonzero(greatest >= least)
        if not len(reached):
            return None
        worst = max(reached, key=lambda k: (self.ranks[k], greatest[k]))
        return (
            self.class_names[worst],
            float(greatest[worst]),
            int(probabilities[:, worst].argmax()),
        )


def severity_of(
    class_names: Sequence[str], order: Sequence[str] = (), abnormal: Sequence[str] = ()
) -> Severity:
    """The order of severity of classes.

    By default the order is that of the Bethesda system, of Herlev's numbering, or of the categories
    of a known data set. Other classes have no order.

    Args:
      class_names: classes of the network.
      order: all classes from harmless to worst; () for the default.
      abnormal: abnormal classes; () uses the hierarchies of known data sets.

    Raises:
      InputError: the order does not hold every class once, or a class is unknown.
    """
    names = tuple(nfc(name) for name in class_names)
    order, abnormal = [nfc(name) for name in order], [nfc(name) for name in abnormal]
    unknown = [name for name in abnormal if name not in names]
    if unknown:
        raise InputError(f"--abnormal={unknown[0]}: is none of the classes {', '.join(names)}.")
    known = levels(names)
    flags: np.ndarray | None = np.isin(names, list(abnormal)) if abnormal else None
    if flags is None and 2 in known:
        coarse, index = coarsen(names, 2)
        flags = index == coarse.index("abnormal")
    if order:
        if sorted(order) != sorted(names):
            raise InputError(
                f"--severity={','.join(order)}: give every class once, from harmless to worst: "
                f"{', '.join(names)}."
            )
        return Severity(names, _ranks(names, order), flags, "--severity")
    if found := order_of(names):
        return Severity(names, _ranks(names, found), flags, "the order of the classes' system")
    if known:
        return Severity(names, coarsen(names, known[0])[1], flags, "the data set's categories")
    return Severity(names, np.zeros(len(names), int), flags, "these classes", known=False)


def _ranks(names: Sequence[str], order: Sequence[str]) -> np.ndarray:
    return np.asarray([list(order).index(name) for name in names])
