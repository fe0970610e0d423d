import json

import numpy as np
import pytest

from cervix_jax.errors import InputError
from cervix_jax.explanations.store import load_or_make_maps, load_or_make_values

SETTINGS = {"steps": 4, "filenames": ["a", "b", "c", "d", "e"], "targets": [0, 1, 0, 1, 2]}
MAPS = np.random.default_rng(0).normal(size=(5, 3, 3, 3)).astype(np.float32)


class Maker:
    """Gives `MAPS`, and says for which images it was asked."""

    def __init__(self, fails_at=None):
        self.asked, self.fails_at = [], fails_at

    def __call__(self, rows):
        if rows.start == self.fails_at:
            raise KeyboardInterrupt
        self.asked.append((rows.start, rows.stop))
        return MAPS[rows]


def make(path, maker, settings=SETTINGS, **options):
    return load_or_make_maps(path, settings, maker, chunk=2, **options)


def test_a_file_holds_its_maps_and_what_made_them(tmp_path):
    path, maker = tmp_path / "maps" / "m.npz", Maker()
    np.testing.assert_array_equal(make(path, maker), MAPS)
    assert maker.asked == [(0, 2), (2, 4), (4, 5)]
    with np.load(path, allow_pickle=False) as stored:
        assert stored["maps"].dtype == np.float32
        assert stored["filenames"].tolist() == SETTINGS["filenames"]
        assert stored["targets"].tolist() == SETTINGS["targets"]
        assert json.loads(str(stored["settings"])) == SETTINGS
    again = Maker()
    np.testing.assert_array_equal(make(path, again), MAPS)
    assert not again.asked
    assert [each.name for each in path.parent.iterdir()] == ["m.npz"]


def test_after_a_stop_finished_chunks_are_kept(tmp_path):
    path = tmp_path / "m.npz"
    with pytest.raises(KeyboardInterrupt):
        make(path, Maker(fails_at=2))
    assert not path.exists()
    rest = Maker()
    np.testing.assert_array_equal(make(path, rest), MAPS)
    assert rest.asked == [(2, 4), (4, 5)]


def test_chunks_of_other_settings_are_not_taken(tmp_path):
    path = tmp_path / "m.npz"
    with pytest.raises(KeyboardInterrupt):
        make(path, Maker(fails_at=2))
    anew = Maker()
    make(path, anew, SETTINGS | {"steps": 5})
    assert anew.asked[0] == (0, 2)


def test_other_settings_are_refused_and_named_or_made_anew(tmp_path):
    path = tmp_path / "m.npz"
    make(path, Maker())
    with pytest.raises(InputError, match=r"steps is 4 in the file, 5 requested.*--overwrite"):
        make(path, Maker(), SETTINGS | {"steps": 5})
    with pytest.raises(InputError, match="5 filenames in the file, 1 requested"):
        make(path, Maker(), SETTINGS | {"filenames": ["a"]})
    with pytest.raises(InputError, match="5 targets in the file, different ones requested"):
        make(path, Maker(), SETTINGS | {"targets": [1, 1, 0, 1, 2]})
    anew = Maker()
    make(path, anew, SETTINGS | {"steps": 5}, overwrite=True)
    assert len(anew.asked) == 3
    same = Maker()
    make(path, same, SETTINGS | {"steps": 5}, overwrite=True)  # only what differs
    assert not same.asked


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short", b"no archive"])
def test_damaged_files_are_named(tmp_path, content):
    maps, values = tmp_path / "m.npz", tmp_path / "v.json"
    maps.write_bytes(content)
    values.write_bytes(content)
    with pytest.raises(InputError, match=r"m\.npz: cannot be read"):
        make(maps, Maker())
    with pytest.raises(InputError, match=r"v\.json: cannot be read"):
        load_or_make_values(values, {}, lambda: {"x": np.zeros(1)})


def test_values_come_back_with_their_nan(tmp_path):
    path = tmp_path / "v.json"
    first = load_or_make_values(path, {"n": 3}, lambda: {"x": np.array([1.5, np.nan, 0.1])})
    assert json.loads(path.read_text())["values"]["x"] == [1.5, None, 0.1]
    again = load_or_make_values(path, {"n": 3}, lambda: pytest.fail("measured twice"))
    np.testing.assert_array_equal(again["x"], first["x"])
    with pytest.raises(InputError, match="n is 3 in the file, 4 requested"):
        load_or_make_values(path, {"n": 4}, dict)
