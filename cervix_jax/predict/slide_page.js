"use strict";
// Positions are pixels of the finest level; the view is in pixels of the thumbnail: wide times high.
const find = (id) => document.getElementById(id);
const data = JSON.parse(find("cells").textContent);
function decode(text, Kind) {
  return new Kind(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);
}
const xs = decode(data.x, Float32Array), ys = decode(data.y, Float32Array);
const kinds = decode(data.kind, Uint16Array), shares = decode(data.p, Uint16Array);
for (const column of data.columns) {
  column.values = column.texts ? decode(column.index, Uint32Array) : decode(column.numbers, Float32Array);
}
const canvas = document.querySelector("#view canvas"), pen = canvas.getContext("2d");
const picture = find("thumbnail"), over = find("over"), tip = find("tip");
const shown = data.classes.map(() => true), members = data.classes.map(() => []);
kinds.forEach((kind, k) => members[kind].push(k));
// Frequent classes are drawn first, so that rare ones are on top.
const order = [...members.keys()].sort((a, b) => members[b].length - members[a].length);
const view = { x: 0, y: 0, zoom: 1 };  // upper left corner, and screen pixels per pixel
const [wide, high] = data.thumbnail;
let chosen = -1, moved = false, asked = false;

const size = () => [canvas.clientWidth, canvas.clientHeight];
const fitting = () => Math.min(size()[0] / wide, size()[1] / high);
const radius = () => data.radius / data.scale * view.zoom;
const toScreen = (k) => [(xs[k] / data.scale - view.x) * view.zoom,
  (ys[k] / data.scale - view.y) * view.zoom];

function fit() {
  view.zoom = fitting();
  view.x = (wide - size()[0] / view.zoom) / 2;
  view.y = (high - size()[1] / view.zoom) / 2;
  moved = false;
  draw();
}
function zoomAt(factor, x = size()[0] / 2, y = size()[1] / 2) {
  // Maximum zoom: one pixel of the slide takes eight pixels of the screen.
  const most = Math.max(8 * data.scale, 4 * fitting());
  const zoom = Math.min(Math.max(view.zoom * factor, fitting() / 2), most);
  view.x += x / view.zoom - x / zoom;
  view.y += y / view.zoom - y / zoom;
  view.zoom = zoom;
  moved = true;
  draw();
}
function move(dx, dy) {
  view.x -= dx / view.zoom;
  view.y -= dy / view.zoom;
  // Keep a part of the picture in view.
  const [width, height] = size(), rim = 40 / view.zoom;
  view.x = Math.min(Math.max(view.x, rim - width / view.zoom), wide - rim);
  view.y = Math.min(Math.max(view.y, rim - height / view.zoom), high - rim);
  moved = true;
  draw();
}

function draw() {
  if (!asked) requestAnimationFrame(paint);
  asked = true;
}
function paint() {
  asked = false;
  const [width, height] = size(), dense = window.devicePixelRatio || 1;
  if (!width) return;
  const inside = [Math.round(width * dense), Math.round(height * dense)];
  if (canvas.width !== inside[0] || canvas.height !== inside[1]) [canvas.width, canvas.height] = inside;
  pen.setTransform(dense, 0, 0, dense, 0, 0);
  pen.clearRect(0, 0, width, height);
  const place = [-view.x * view.zoom, -view.y * view.zoom,
    wide * view.zoom, high * view.zoom];
  pen.drawImage(picture, ...place);
  if (over && find("attribution").checked) {
    pen.globalAlpha = find("opacity").value / 100;
    pen.drawImage(over, ...place);
    pen.globalAlpha = 1;
  }
  const dots = radius() < 3, reach = dots ? 2 : radius();
  const thick = Math.min(Math.max(reach / 5, 1.5), 4);
  for (const kind of order) {
    if (!shown[kind]) continue;
    const colour = pen.fillStyle = data.classes[kind].colour;
    for (const k of members[kind]) {
      const [x, y] = toScreen(k);
      if (x < -reach || y < -reach || x > width + reach || y > height + reach) continue;
      if (dots) {
        pen.fillRect(x - reach, y - reach, 2 * reach, 2 * reach);
      } else {  // a ring keeps the nucleus visible, and its white outline shows on any stain
        ring(x, y, reach, "#fff", thick + 2);
        ring(x, y, reach, colour, thick);
      }
    }
  }
  if (chosen >= 0) mark(...toScreen(chosen), Math.max(reach + 4, 8));
}
function ring(x, y, reach, colour, width) {
  pen.strokeStyle = colour;
  pen.lineWidth = width;
  pen.beginPath();
  pen.arc(x, y, reach, 0, 7);
  pen.stroke();
}
function mark(x, y, reach) {
  const half = data.side === null ? 0 : data.side / data.scale * view.zoom / 2;
  for (const [colour, width] of [["#000", 4], ["#fff", 1.8]]) {
    ring(x, y, reach, colour, width);
    if (half > reach) pen.strokeRect(x - half, y - half, 2 * half, 2 * half);
  }
}

// The nearest visible cell within the width of a finger.
function cellAt(x, y) {
  let best = -1, least = Math.max(radius(), 8) ** 2;
  for (let k = 0; k < data.count; k++) {
    if (!shown[kinds[k]]) continue;
    const [cx, cy] = toScreen(k), far = (cx - x) ** 2 + (cy - y) ** 2;
    if (far <= least) [best, least] = [k, far];
  }
  return best;
}
const share = (k, kind) => (shares[k * data.classes.length + kind] / data.finest).toFixed(3);
function rowOf(k) {
  const row = [["cell", String(k + 1)], ["x", xs[k].toFixed(1)], ["y", ys[k].toFixed(1)],
    ["class", data.classes[kinds[k]].name]];
  data.classes.forEach((each, kind) => row.push([`p_${each.name}`, share(k, kind)]));
  for (const { name, texts, values } of data.columns) {
    row.push([name, texts ? texts[values[k]] : String(Number(values[k].toPrecision(4)))]);
  }
  return row;
}
function choose(k) {
  chosen = k;
  const list = document.createElement("dl");
  for (const pair of rowOf(k)) {
    const part = document.createElement("div");
    ["dt", "dd"].forEach((tag, place) => {
      part.appendChild(document.createElement(tag)).textContent = pair[place];
    });
    list.append(part);
  }
  find("cell").replaceChildren(list);
  find("number").value = k + 1;
  for (const button of document.querySelectorAll("[data-cell]")) {
    button.setAttribute("aria-pressed", String(Number(button.dataset.cell) === k + 1));
  }
  draw();
}
// Centre a cell. Its nucleus takes about 40 pixels of the screen, but a pixel of the thumbnail at
// most six: at higher zoom the surroundings are not recognisable.
function show(k) {
  view.zoom = Math.max(fitting(), Math.min(20 * data.scale / data.radius, 6));
  view.x = xs[k] / data.scale - size()[0] / view.zoom / 2;
  view.y = ys[k] / data.scale - size()[1] / view.zoom / 2;
  moved = true;
  choose(k);
}

const fingers = new Map();
let dragged = 0;
const where = (event) => [event.offsetX, event.offsetY];
const apart = () => {
  const [a, b] = [...fingers.values()];
  return Math.hypot(a[0] - b[0], a[1] - b[1]);
};
canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  fingers.set(event.pointerId, where(event));
  dragged = 0;
});
canvas.addEventListener("pointermove", (event) => {
  const before = fingers.get(event.pointerId), now = where(event);
  if (!before) return hint(now);
  tip.hidden = true;
  const gap = fingers.size === 2 ? apart() : 0;
  fingers.set(event.pointerId, now);
  dragged += Math.hypot(now[0] - before[0], now[1] - before[1]);
  if (fingers.size === 1 && dragged > 4) move(now[0] - before[0], now[1] - before[1]);
  if (gap) {
    const [a, b] = [...fingers.values()];
    zoomAt(apart() / gap, (a[0] + b[0]) / 2, (a[1] + b[1]) / 2);
  }
});
for (const end of ["pointerup", "pointercancel"]) {
  canvas.addEventListener(end, (event) => {
    const alone = fingers.size === 1;
    if (!fingers.delete(event.pointerId) || end !== "pointerup" || !alone || dragged > 4) return;
    const k = cellAt(...where(event));
    if (k >= 0) choose(k);
  });
}
canvas.addEventListener("pointerleave", () => { tip.hidden = true; });
canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  const lines = event.deltaMode === 1 ? 20 : 1;
  zoomAt(Math.exp(-Math.max(-300, Math.min(300, event.deltaY * lines)) / 400), ...where(event));
}, { passive: false });
canvas.addEventListener("keydown", (event) => {
  const step = 60;
  const keys = { "+": () => zoomAt(1.4), "=": () => zoomAt(1.4), "-": () => zoomAt(1 / 1.4),
    "0": fit, ArrowLeft: () => move(step, 0), ArrowRight: () => move(-step, 0),
    ArrowUp: () => move(0, step), ArrowDown: () => move(0, -step) };
  if (!Object.hasOwn(keys, event.key) || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  keys[event.key]();
});
function hint([x, y]) {
  const k = cellAt(x, y);
  tip.hidden = k < 0;
  canvas.style.cursor = k < 0 ? "grab" : "pointer";
  if (k < 0) return;
  tip.textContent = `cell ${k + 1}: ${data.classes[kinds[k]].name} ${share(k, kinds[k])}`;
  const [width, height] = size();
  tip.style.left = `${Math.min(x + 12, width - tip.offsetWidth - 4)}px`;
  tip.style.top = `${Math.min(y + 12, height - tip.offsetHeight - 4)}px`;
}

find("closer").addEventListener("click", () => zoomAt(1.6));
find("farther").addEventListener("click", () => zoomAt(1 / 1.6));
find("whole").addEventListener("click", fit);
const typed = () => {
  const k = find("number").valueAsNumber - 1;
  if (Number.isInteger(k) && k >= 0 && k < data.count) show(k);
};
find("go").addEventListener("click", typed);
find("number").addEventListener("keydown", (event) => { if (event.key === "Enter") typed(); });
const boxes = [...document.querySelectorAll("#legend input")];
function switched() {
  for (const box of boxes) shown[Number(box.dataset.class)] = box.checked;
  draw();
}
find("legend").addEventListener("input", switched);
for (const [id, on] of [["all", true], ["none", false]]) {
  find(id).addEventListener("click", () => {
    for (const box of boxes) box.checked = on;
    switched();
  });
}
function attributed() {
  for (const image of document.querySelectorAll(".gallery .over")) {
    image.hidden = !find("attribution").checked;
    image.style.opacity = find("opacity").value / 100;
  }
  draw();
}
for (const id of ["attribution", "opacity"]) find(id)?.addEventListener("input", attributed);
for (const button of document.querySelectorAll("[data-cell]")) {
  button.addEventListener("click", () => {
    show(Number(button.dataset.cell) - 1);
    find("overview").scrollIntoView({ block: "start" });
  });
}
new ResizeObserver(() => { if (moved) draw(); else fit(); }).observe(canvas);
for (const each of [picture, over]) each?.decode().then(draw);
