"""The page of a slide: what is on it, and that it works in a browser without a network."""

import base64
import html
import html.parser
import io
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from cervix_jax.predict import slide_page
from cervix_jax.predict.cell_summary import ABNORMAL, summarise, suspicious
from cervix_jax.predict.severity import severity_of

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
NAMES = ("normal", "worse", "worst")
ORDER = severity_of(NAMES, order=NAMES, abnormal=NAMES[1:])
EVIL = "</script><script>document.title='hacked'</script><img src=x onerror=alert(1)>&\"'{{7*7}}"


def write(path, *, cells=40, severity=ORDER, size=(400, 300), mpp=0.25, scale=2.0, **given):
    """A page of drawn cells; what it was made of."""
    rng = np.random.default_rng(0)
    positions = rng.uniform((10, 10), np.subtract(size, 10), (cells, 2))
    p = rng.dirichlet(np.full(len(severity.class_names), 0.4), cells)
    rows = suspicious(p, severity)
    height, width = (max(1, round(side / scale)) for side in size[::-1])
    made = {
        "title": "a slide",
        "thumbnail": np.full((height, width, 3), 240, np.uint8),
        "scale": scale,
        "positions": positions,
        "probabilities": p,
        "severity": severity,
        "summary": summarise("a.svs", size=size, mpp=mpp, probabilities=p, severity=severity),
        "provenance": {"Run": "runs/x", "Step": 12},
        "columns": {"nucleus": rng.uniform(size=cells), "conformal_set": [["normal"]] * cells},
        "chosen": rows,
        "gallery": [np.full((8, 8, 3), 10 * k, np.uint8) for k in range(len(rows))],
    } | given
    slide_page.write_page(path, **made)
    return made


class Elements(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found, self.words = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)


def read(path):
    text = path.read_text(encoding="utf-8")
    elements = Elements(text)
    cells = re.search(r'<script type="application/json" id="cells">(.*?)</script>', text)
    assert cells
    return text, elements, json.loads(cells[1])


def decode(text, kind):
    return np.frombuffer(base64.b64decode(text), kind)


def test_the_page_is_whole_and_asks_for_nothing_else(tmp_path):
    made = write(tmp_path / "a.html")
    text, elements, _ = read(tmp_path / "a.html")
    for _, attributes in elements.found:
        for name in ("src", "href"):
            assert attributes.get(name, "#").startswith(("data:", "#")), attributes
    assert not re.search(r"url\(|@import|fetch\(|https?:", text)
    assert "default-src 'none'" in text
    assert all("alt" in attributes for tag, attributes in elements.found if tag == "img")
    said = " ".join(" ".join(elements.words).split())
    assert "not for clinical use" in said
    assert "400 by 300 pixels of 0.25 micrometres, 0.1 by 0.075 mm" in said
    summary = made["summary"]
    share, low, high = (100 * summary[name] for name in ABNORMAL)
    found = summary["cells_worse"] + summary["cells_worst"]
    assert (
        f"40 cells were detected. Of these, {found} ({share:.1f} %, 95 % interval {low:.1f} "
        f"to {high:.1f} %) have an abnormal class as the most probable one (worse, worst)."
    ) in said
    assert f"is worst: {summary['worst_probability']:.3f} in cell {summary['worst_cell']}." in said
    assert "Run runs/x Step 12 Written by cervix_jax" in said
    cases = [a["data-cell"] for tag, a in elements.found if "data-cell" in a]
    assert cases == summary["suspicious"].split("|")


def test_the_page_holds_every_cell(tmp_path):
    made = write(tmp_path / "a.html")
    _, _, cells = read(tmp_path / "a.html")
    found = np.stack([decode(cells[name], "<f4") for name in "xy"], axis=1)
    np.testing.assert_allclose(found, made["positions"], atol=1e-4)
    assert decode(cells["kind"], "<u2").tolist() == made["probabilities"].argmax(1).tolist()
    p = decode(cells["p"], "<u2").reshape(-1, 3) / cells["finest"]
    np.testing.assert_allclose(p, made["probabilities"], atol=1e-5)
    numbers, texts = cells["columns"]
    np.testing.assert_allclose(decode(numbers["numbers"], "<f4"), made["columns"]["nucleus"], 1e-6)
    assert (texts["texts"], set(decode(texts["index"], "<u4"))) == (["normal"], {0})
    assert [each["name"] for each in cells["classes"]] == list(NAMES)


@pytest.mark.parametrize("cells", [0, 1])
@pytest.mark.parametrize(
    "severity",
    [ORDER, severity_of(("x", "y")), severity_of(("only",)), severity_of((EVIL, "细胞 é"))],
    ids=["known", "unknown", "one class", "odd names"],
)
def test_few_cells_and_unknown_orders_have_a_page(tmp_path, cells, severity):
    write(tmp_path / "a.html", cells=cells, severity=severity, mpp=None)
    _, elements, packed = read(tmp_path / "a.html")
    said = " ".join(" ".join(elements.words).split())
    assert packed["count"] == cells
    assert ("1 cell was detected." if cells else "No cell was detected, so this field") in said
    assert "micrometres per pixel unknown" in said
    if cells:
        assert ("Give them with --severity or --abnormal" in said) == (severity is not ORDER)


def test_texts_are_no_markup(tmp_path):
    severity = severity_of((EVIL, "b"), order=("b", EVIL), abnormal=(EVIL,))
    write(
        tmp_path / "a.html", severity=severity, title=EVIL, provenance={EVIL: EVIL},
        columns={EVIL: [EVIL] * 40}, attribution=png(), attribution_note=EVIL,
    )  # fmt: skip
    text, elements, packed = read(tmp_path / "a.html")
    assert "<img src=x" not in text
    assert text.count("<script") == text.count("</script>") == 2
    assert EVIL in "".join(elements.words)
    assert packed["classes"][0]["name"] == packed["columns"][0]["name"] == EVIL


def png(size=(20, 10)):
    stream = io.BytesIO()
    Image.new("RGBA", size, (255, 0, 0, 255)).save(stream, "PNG")
    return stream.getvalue()


def test_arrays_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(ValueError, match="39 positions and 40 cells"):
        write(tmp_path / "a.html", positions=np.zeros((39, 2)))
    with pytest.raises(ValueError, match="16 chosen, 1 pictures and 0"):
        write(tmp_path / "a.html", gallery=[np.zeros((8, 8, 3), np.uint8)])
    with pytest.raises(ValueError, match="16 pictures and 1 attributions"):
        write(tmp_path / "a.html", attributions=[np.zeros((8, 8, 4), np.uint8)])
    with pytest.raises(ValueError, match="energy: 3 values of 40 cells"):
        write(tmp_path / "a.html", columns={"energy": [1.0] * 3})
    assert not list(tmp_path.iterdir())


def test_a_hundred_thousand_cells_are_a_few_megabytes(tmp_path):
    write(tmp_path / "a.html", cells=100_000, size=(100_000, 80_000), scale=100.0)
    assert (tmp_path / "a.html").stat().st_size < 5e6


USE = """<script>
// All at once, and painted at once: a busy machine may give no frame before the page is read.
const tried = () => {
  const canvas = document.querySelector("#view canvas");
  const colours = () => {
    const copy = new OffscreenCanvas(canvas.width, canvas.height);
    const pen = copy.getContext("2d", { willReadFrequently: true });
    pen.drawImage(canvas, 0, 0);
    const all = pen.getImageData(0, 0, canvas.width, canvas.height).data;
    const found = new Set();
    for (let k = 0; k < all.length; k += 4) found.add(all.slice(k, k + 3).join());
    return found;
  };
  const classes = ["31,119,180", "255,127,14", "44,160,44", "255,0,0"];
  const seen = () => { const found = colours(); return classes.map((each) => found.has(each)); };
  const row = () => [...document.querySelectorAll("#cell dd")].map((cell) => cell.textContent);
  const steps = {};
  fit(); paint();
  steps.first = seen();
  document.querySelector("#legend input").click();
  paint();
  steps.without = seen();
  document.getElementById("none").click();
  document.getElementById("opacity").value = 100;
  const overs = () => [...document.querySelectorAll(".gallery .over:not([hidden])")].length;
  steps.hidden = overs();
  document.getElementById("attribution").click();
  paint();
  steps.over = seen();
  steps.overs = overs();
  document.getElementById("attribution").click();
  document.getElementById("all").click();
  document.querySelector("[data-cell]").click();
  paint();
  steps.row = row();
  steps.pressed = document.querySelector('[aria-pressed="true"]').dataset.cell;
  const at = (type, x, y) => canvas.dispatchEvent(new PointerEvent(type, {
    clientX: canvas.getBoundingClientRect().x + x, clientY: canvas.getBoundingClientRect().y + y,
    pointerId: 1, bubbles: true }));
  canvas.setPointerCapture = () => {};
  // The chosen cell is in the middle now; another click there finds it, and so does the hint.
  const [x, y] = [canvas.clientWidth / 2, canvas.clientHeight / 2];
  at("pointermove", x, y);
  steps.tip = document.getElementById("tip").textContent;
  document.getElementById("number").value = 1;
  document.getElementById("go").click();
  steps.typed = row()[0];
  choose(2);
  at("pointerdown", x, y); at("pointermove", x + 90, y); at("pointerup", x + 90, y);
  steps.dragged = row()[0];
  at("pointerdown", x + 90, y); at("pointerup", x + 90, y);
  steps.clicked = row()[0];
  const zoom = view.zoom;
  document.getElementById("closer").click();
  steps.closer = view.zoom / zoom;
  canvas.dispatchEvent(new WheelEvent("wheel", { deltaY: 100, cancelable: true }));
  steps.wheel = view.zoom / zoom / steps.closer;
  canvas.dispatchEvent(new KeyboardEvent("keydown", { key: "+" }));
  steps.key = view.zoom / zoom / steps.closer / steps.wheel;
  document.getElementById("whole").click();
  steps.whole = view.zoom < zoom;
  steps.wide = document.documentElement.scrollWidth > window.innerWidth;
  document.title = JSON.stringify(steps);
};
window.addEventListener("load", () => {
  try { tried(); } catch (error) { document.title = error; }
});
</script></body>"""


def browse(path, folder):
    """The title of a page that a browser has shown; nothing may have been logged."""
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=500,900",
         f"--user-data-dir={folder / 'profile'}",
         "--enable-logging=stderr", "--dump-dom", path.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert "CONSOLE" not in done.stderr, done.stderr
    return html.unescape(re.search(r"<title>(.*?)</title>", done.stdout, re.DOTALL)[1])


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
def test_the_page_works_in_a_browser(tmp_path):
    evil = severity_of((EVIL, "b", "c"), order=("b", "c", EVIL), abnormal=(EVIL,))
    made = write(
        tmp_path / "a.html", title=EVIL, severity=evil, attribution=png(), side=100.0,
        columns={EVIL: [EVIL] * 40}, size=(4000, 3000),
        attributions=[np.full((8, 8, 4), 9, np.uint8)] * 16,
    )  # fmt: skip
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    (tmp_path / "b.html").write_text(text.replace("</body>", USE), encoding="utf-8")
    assert browse(tmp_path / "a.html", tmp_path) == EVIL
    found = json.loads(browse(tmp_path / "b.html", tmp_path))
    assert found["first"] == [True, True, True, False]
    assert found["without"] == [False, True, True, False]
    assert found["over"] == [False, False, False, True]
    assert [found["hidden"], found["overs"]] == [0, 16]
    k = int(made["chosen"][0])
    name = evil.class_names[made["probabilities"][k].argmax()]
    p = [f"{value:.3f}" for value in made["probabilities"][k]]
    x, y = (f"{value:.1f}" for value in made["positions"][k])
    assert found["row"] == [str(k + 1), x, y, name, *p, EVIL]
    assert found["pressed"] == str(k + 1)
    assert found["tip"] == f"cell {k + 1}: {name} {max(p)}"
    assert [found[step] for step in ("typed", "dragged", "clicked")] == ["1", "3", "1"]
    assert found["closer"] == pytest.approx(1.6)
    assert found["wheel"] == pytest.approx(np.exp(-0.25))
    assert found["key"] == pytest.approx(1.4)
    assert found["whole"]
    assert not found["wide"]
