import numpy as np
import pytest
from matplotlib.image import imread

from cervix_jax import figures


@pytest.mark.parametrize("name", ["$a_$", r"$\foo$", "cost $5 to $9", r"a\frac"])
def test_names_of_classes_are_no_formulas(tmp_path, name):
    rates = np.array([0, 0.5, 1]), np.array([0, 0.7, 1])
    figures.confusion_matrix(np.eye(2, dtype=int), (name, "b"), name, tmp_path / "matrix.png")
    figures.roc_curves({name: rates, "b": rates}, name, tmp_path / "roc.png")
    for path in tmp_path.iterdir():
        assert imread(path).ndim == 3
    assert len(list(tmp_path.iterdir())) == 2
