"""Peaks of a map, blobs of an image: places, scores, what is too near."""

import jax.numpy as jnp
import numpy as np
from skimage.draw import disk

from cervix_jax.detect.blobs import find_blobs
from cervix_jax.detect.peaks import found_in, peak_scores
from cervix_jax.models.nucleus_detector import STRIDE


def logits_of(discs, shape=(64, 80), radius=3.0) -> np.ndarray:
    """Logits of a map that is sure of nuclei at (x, y) with a strength."""
    logits = np.zeros((1, *shape, 2), np.float32)
    logits[..., 0] = 8
    for x, y, strength in discs:
        logits[0, *disk((y, x), radius, shape=shape), 1] = strength
    return logits


def peaks(discs, least=0.05, **options):
    return found_in(np.asarray(peak_scores(jnp.asarray(logits_of(discs, **options))))[0], least)


def test_a_disc_is_one_peak_in_its_middle_and_the_surest_is_first():
    found = peaks([(20, 30, 9.0), (60, 12, 16.0)])
    np.testing.assert_allclose(found.positions, np.array([[60, 12], [20, 30]]) * STRIDE + 1.5)
    assert found.scores[0] > 0.8
    assert 0.4 < found.scores[1] < found.scores[0]


def test_a_score_is_needed_and_empty_maps_have_none():
    assert len(peaks([(20, 30, 9.0), (60, 12, 16.0)], least=0.75).scores) == 1
    assert peaks([]).positions.shape == (0, 2)


def test_discs_that_touch_are_two_and_the_border_is_no_limit():
    assert len(peaks([(20, 30, 16.0), (27, 30, 16.0)], radius=2.5).scores) == 2
    found = peaks([(0, 0, 16.0), (79, 63, 16.0)])
    np.testing.assert_allclose(
        sorted(found.positions.tolist()), [[1.5, 1.5], [159.5, 127.5]], atol=2
    )


def test_blobs_are_dark_in_red_light_and_of_the_size_of_nuclei():
    image = np.full((200, 300, 3), (200, 190, 210), np.uint8)
    image[disk((60, 80), 9)] = (70, 50, 110)  # 9 micrometres across
    image[disk((140, 220), 9)] = (110, 80, 140)
    image[20:180, 150:156] = (190, 60, 60)  # red: absorbs no red light
    found = find_blobs(image, 0.5, 0.1)
    np.testing.assert_allclose(found.positions, [[80.5, 60.5], [220.5, 140.5]], atol=1.1)
    assert found.scores[0] > found.scores[1] > 0.1
    assert len(find_blobs(image, 0.5, 0.99).scores) == 0
    finer = find_blobs(np.kron(image, np.ones((2, 2, 1), np.uint8)), 0.25, 0.1)
    np.testing.assert_allclose(finer.positions / 2, found.positions, atol=0.6)
    np.testing.assert_allclose(finer.scores, found.scores, rtol=0.05)
