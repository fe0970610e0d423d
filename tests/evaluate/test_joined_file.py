"""Predictions of all folds and seeds in one file: read as they were, and refused where damaged."""

import gzip

import numpy as np
import pytest
from random_tables import random_table

from cervix_jax.errors import InputError
from cervix_jax.evaluate.joined_file import read_joined, write_joined
from cervix_jax.evaluate.sides import read_side
from cervix_jax.statistics.side_by_side import Side

HEAD = "seed,fold,filename,group,label,predicted,p_a,p_b\n"


def side():
    members = [(seed, fold) for seed in (0, 1) for fold in (0, 1)]
    return Side("runs", {member: random_table(n) for n, member in enumerate(members)}, {})


def test_every_run_is_read_as_it_was(tmp_path):
    path = tmp_path / "all.csv.gz"
    write_joined(path, side())
    assert gzip.decompress(path.read_bytes()).startswith(b"seed,fold,filename,group,label,")
    found = read_side(path)  # as --compare and --ensemble do
    assert list(found.tables) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    for member, table in side().tables.items():
        own = found.tables[member]
        assert own.filenames == table.filenames
        assert own.class_names == table.class_names
        assert own.groups.tolist() == table.groups.tolist()
        assert own.labels.tolist() == table.labels.tolist()
        np.testing.assert_allclose(own.probabilities, table.probabilities, rtol=1e-5)
    again = tmp_path / "again.csv.gz"
    write_joined(again, side())
    assert again.read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("", "holds no predictions"),
        ("0,0,x.png,g,a,a,0.5,0.5\n0,0,x.png,g,a,a,0.5,0.5\n", "line 3: 'x.png' occurs more"),
        ("0,0,x.png,g,c,a,0.5,0.5\n", "line 2: the label 'c' is none of the classes a, b"),
        ("0,0.5,x.png,g,a,a,0.5,0.5\n", "line 2: fold=0.5 must be a whole number"),
        ("0,0,x.png,g,a,a,0,0\n", "line 2: all probabilities are 0"),
        ("0,0,x.png,g,a,a,-1,2\n", "line 2: p_a='-1' must be a number of at least 0"),
    ],
)
def test_a_damaged_file_is_refused_in_a_line(tmp_path, rows, message):
    path = tmp_path / "all.csv"
    path.write_text(HEAD + rows, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_joined(path)
