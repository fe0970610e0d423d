"""Positions of a sliding window on a field, and its results per pixel."""

import numpy as np

from cervix_jax.errors import InputError, check_number

MOST_OVERLAP = 0.9


def check_window(window: int, overlap: float) -> None:
    """Refuse an invalid window.

    Raises:
      InputError: the side is not positive, or the overlap not in [0, 0.9].
    """
    if window < 1:
        raise InputError(f"--window={window}: give its side in pixels of the field, e.g. 100.")
    check_number("--overlap", overlap, 0, MOST_OVERLAP)


def starts(length: int, window: int, overlap: float) -> np.ndarray:
    """First pixels of the windows along one side; the last window ends with the side.

    Args:
      length: length of the side in pixels, at least `window`.
      window: side of the window in pixels.
      overlap: minimum overlap of neighbouring windows as a share, in [0, 0.9]; the last two may
        overlap more.

    Returns:
      int64 [n], rising from 0 to `length - window`; every pixel lies in at least one window.
    """
    step = max(1, round(window * (1 - overlap)))
    found = np.arange(0, length - window + 1, step)
    last = length - window
    return found if found[-1] == last else np.append(found, last)


def mean_over_windows(
    values: np.ndarray,
    known: np.ndarray,
    corners: tuple[np.ndarray, np.ndarray],
    window: int,
    centres: tuple[np.ndarray, np.ndarray],
) -> np.ndarray:
    """Mean over the windows that contain each point.

    A window covers a rectangle, so sums over windows are two matrix products.

    Args:
      values: float [rows, columns, K], of the windows.
      known: bool [rows, columns], whether a window has a value.
      corners: first pixels of the rows int [rows] and of the columns int [columns].
      window: side in pixels.
      centres: rows float [h] and columns float [w] of the points, in pixels of the field.

    Returns:
      float64 [h, w, K]; NaN at points in no window with a value.
    """
    down, across = (
        ((points[:, None] >= first) & (points[:, None] < first + window)).astype(np.float64)
        for points, first in zip(centres, corners, strict=True)
    )
    kept = np.where(known[..., None], values, 0.0)
    total = np.einsum("hr,rck,wc->hwk", down, kept, across, optimize=True)
    count = down @ known.astype(np.float64) @ across.T
    empty = np.full_like(total, np.nan)
    return np.divide(total, count[..., None], out=empty, where=count[..., None] > 0)
