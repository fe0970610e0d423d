"""Names are found whatever their form in Unicode."""

import unicodedata
from pathlib import Path

import pytest

from cervix_jax.files.paths import nfc, on_disk


def form_of(kind: str, path: Path, root: Path) -> Path:
    return root / unicodedata.normalize(kind, path.relative_to(root).as_posix())


@pytest.mark.parametrize("kind", ["NFC", "NFD"])
@pytest.mark.parametrize("asked", ["NFC", "NFD"])
def test_a_path_is_found_in_either_form(tmp_path, kind, asked):
    path = form_of(kind, tmp_path / "Läsion" / "süß" / "ü.png", tmp_path)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"")
    assert on_disk(form_of(asked, path, tmp_path)) == path
    assert nfc(str(path)) == nfc(str(form_of(asked, path, tmp_path)))


@pytest.mark.parametrize("path", ["ü.png", "ü/ü/ü", "/ü", "", ".", "ü\0", "a.png", "ü/../ü"])
def test_what_leads_nowhere_stays_as_it_is(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    assert on_disk(path) == Path(path)


def test_the_path_itself_goes_first(tmp_path):
    paths = [tmp_path / unicodedata.normalize(kind, "ü") for kind in ("NFC", "NFD")]
    for path in paths:
        path.write_bytes(b"")
    assert [on_disk(path) for path in paths] == paths
