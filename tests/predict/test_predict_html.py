"""The page of predicted images: what it counts, which images it shows, and what it refuses."""

import html
import re

import numpy as np
import pytest
from predicted_rows import read_rows

from cervix_jax.errors import InputError
from cervix_jax.predict.images_page import SHOWN, collect


@pytest.fixture(scope="module")
def folder(cells, tmp_path_factory):
    """Some cells, one of them of a name with markup, and a file that is no image."""
    place = tmp_path_factory.mktemp("shown") / "a & b"
    place.mkdir()
    for number, path in enumerate(sorted(cells.rglob("*.png"))[:20]):
        (place / f"<b>{number}#.png").write_bytes(path.read_bytes())
    (place / "broken.png").write_bytes(b"no image")
    return place


def cases_of(text):
    """Paths by heading, in the order of the page."""
    section = text[text.index('<section id="images">') : text.index('<section id="skipped">')]
    parts = re.split(r"<h3>(.*?)</h3>", section)[1:]
    return {
        heading: [html.unescape(path) for path in re.findall(r'class="soft">(.*?)</span>', part)]
        for heading, part in zip(parts[::2], parts[1::2], strict=True)
    }


def test_the_page_shows_what_the_table_holds(predict, workdir, folder, tmp_path):
    out, page = tmp_path / "p.csv", tmp_path / "pages" / "p.html"
    predict(folder, workdir=workdir, out=out, html=page)
    rows, text = read_rows(out), page.read_text(encoding="utf-8")
    assert "<h1>Predictions of 20 images</h1>" in text
    assert "1 of 21 files were skipped" in text
    for name in {row["class"] for row in rows}:
        count = sum(row["class"] == name for row in rows)
        assert re.search(
            rf'<th scope="row">{name}</th><td class="number">{count}</td>\s*'
            rf'<td class="number">{100 * count / 20:.1f} %</td>', text
        )  # fmt: skip
    edges = np.histogram([float(row["confidence"]) for row in rows], bins=10, range=(0, 1))[0]
    for number, count in enumerate(edges.tolist()):
        name = f"{number / 10:.1f} to {(number + 1) / 10:.1f}"
        assert f'<th scope="row">{name}</th><td class="number">{count}</td>' in text
    cases = cases_of(text)
    by_energy = sorted(rows, key=lambda row: -float(row["energy"]))
    by_confidence = sorted(rows, key=lambda row: -float(row["confidence"]))
    assert cases["Most out-of-distribution"] == [row["path"] for row in by_energy[:SHOWN]]
    assert cases["Most certain"] == [row["path"] for row in by_confidence[:SHOWN]]
    assert cases["Least certain"] == [row["path"] for row in by_confidence[::-1][:SHOWN]]
    assert text.count('<img src="data:image/jpeg;base64,') == 3 * SHOWN
    assert "<b>0#" not in text  # names are text
    links = re.findall(r'<a href="([^"#]+)">', text)
    assert len(links) == 3 * SHOWN
    assert all(link.startswith("../") or "/a%20%26%20b/%3Cb%3E" in link for link in links)
    assert "broken.png" in text
    assert f"<dd>{workdir.name}</dd>" in text
    assert "not for clinical use" in text
    assert not re.search(r"https?://|url\(|@import|fetch\(|<script", text)


def test_no_page_without_being_asked(predict, workdir, folder, tmp_path):
    predict(folder, workdir=workdir, out=tmp_path / "p.csv")
    assert not list(tmp_path.rglob("*.html"))


def test_the_last_shard_writes_the_page(predict, workdir, folder, tmp_path):
    whole, page = tmp_path / "whole.html", tmp_path / "p.html"
    predict(folder, workdir=workdir, out=tmp_path / "whole.csv", html=whole)
    predict(folder, workdir=workdir, out=tmp_path / "p.csv", html=page, shard="1/2")
    assert not page.exists()
    predict(folder, workdir=workdir, out=tmp_path / "p.csv", html=page, shard="2/2")
    text = whole.read_text(encoding="utf-8").replace("whole.csv", "p.csv")
    assert page.read_text(encoding="utf-8") == text.replace("whole_skipped", "p_skipped")


def test_what_cannot_be_written_is_refused_before_any_work(predict, workdir, folder, tmp_path):
    out, page = tmp_path / "p.csv", tmp_path / "p.html"
    with pytest.raises(InputError, match=r"ends in \.html or \.htm"):
        predict(folder, workdir=workdir, out=out, html=tmp_path / "p.pdf")
    with pytest.raises(InputError, match="--html is for images"):
        predict(folder, workdir=workdir, out=out, html=page, field="window", window=32)
    page.write_text("mine")
    with pytest.raises(InputError, match=r"p\.html exists already"):
        predict(folder, workdir=workdir, out=out, html=page)
    assert page.read_text() == "mine"
    assert not out.exists()
    predict(folder, workdir=workdir, out=out, html=page, overwrite=True)
    assert "Predictions of 20 images" in page.read_text(encoding="utf-8")


def test_few_rows_are_kept_of_many():
    def entries():
        for number in range(20_000):
            if number % 2:
                yield {"path": f"{number}.png", "reason": "no image"}
            else:
                sure = (number % 1000) / 1000
                yield {"path": f"{number}.png", "class": "a", "confidence": sure, "energy": -sure}

    found = collect(entries())
    assert found.counts == {"a": 10_000}
    assert sum(found.bins) == 10_000
    assert [row["path"] for row in found.certain] == [f"{998 + 1000 * k}.png" for k in range(SHOWN)]
    assert found.uncertain == found.unfamiliar
    assert [row["path"] for row in found.uncertain][:2] == ["0.png", "1000.png"]
    assert [path for path, _ in found.skipped] == [f"{2 * k + 1}.png" for k in range(SHOWN)]
