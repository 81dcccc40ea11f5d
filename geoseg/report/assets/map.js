/* The map of a report: pictures and polygons on a canvas, moved by mouse, touch and keyboard.

   Coordinates. A place on the map is (x, y) in px of the labels' picture, y stretched by the aspect of a pixel, so that
   one step in x and one in y are the same length on the ground. view = {x, y, scale}: the place in the middle of the
   canvas, and CSS px for each px of the picture. */
"use strict";

const report = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const reduce = (value, low, high) => Math.min(high, Math.max(low, value));

async function inflate(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function shownArea(squareMetres) {
  if (report.plain) return `${digits(squareMetres)} ${report.plain}`;
  const chosen = document.querySelector("input[name=unit]:checked")?.value;
  const unit = squareMetres >= 1e6 ? "km2" : squareMetres >= 1e4 ? "ha" : "m2";
  const [size, name] = report.units[chosen && squareMetres / report.units[chosen][0] >= 0.01 ? chosen : unit];
  return `${digits(squareMetres / size)} ${name}`;
}

function digits(value) {
  const places = value === 0 || Math.abs(value) >= 1000 ? 0 : Math.min(6, Math.max(0, 3 - Math.floor(Math.log10(Math.abs(value)))));
  return value.toLocaleString("en", { minimumFractionDigits: places, maximumFractionDigits: places });
}

/* Colours as a canvas stores them: alpha, blue, green, red from the highest byte down (little-endian machines). */
const packed = (color, alpha = 255) => {
  const value = parseInt(color.slice(1), 16);
  return ((alpha << 24) | ((value & 255) << 16) | (value & 0xff00) | (value >> 16)) >>> 0;
};

const RAMP = ["#3b0f70", "#8c2981", "#de4968", "#fe9f6d", "#fcfdbf"];

function rampColor(part) {
  const place = reduce(part, 0, 1) * (RAMP.length - 1), first = Math.min(RAMP.length - 2, Math.floor(place));
  const mix = (at) => Math.round(parseInt(RAMP[first].slice(at, at + 2), 16) * (first + 1 - place)
    + parseInt(RAMP[first + 1].slice(at, at + 2), 16) * (place - first));
  return `#${[1, 3, 5].map((at) => mix(at).toString(16).padStart(2, "0")).join("")}`;
}

/* A picture of numbers, painted by a table of 256 colours. */
class Grid {
  constructor(content, values) {
    Object.assign(this, content);
    this.values = values;
    this.canvas = document.createElement("canvas");
    this.canvas.width = this.width;
    this.canvas.height = this.height;
  }

  paint(table) {
    const image = new ImageData(this.width, this.height), pixels = new Uint32Array(image.data.buffer);
    for (let place = 0; place < pixels.length; place++) pixels[place] = table[this.values[place]];
    this.canvas.getContext("2d").putImageData(image, 0, 0);
  }

  at(x, y) {
    const [left, top, right, bottom] = this.box;
    const column = Math.floor((x - left) / (right - left) * this.width);
    const row = Math.floor((y - top) / (bottom - top) * this.height);
    const inside = column >= 0 && row >= 0 && column < this.width && row < this.height;
    return inside ? this.values[row * this.width + column] : undefined;
  }
}

/* Polygons, as geoseg.report.shapes.encode writes them; the largest come first. */
function decodeShapes(bytes, content, aspect) {
  let place = 0, x = 0, y = 0;
  const next = () => {
    let value = 0, shift = 1, byte;
    do { byte = bytes[place++]; value += (byte & 127) * shift; shift *= 128; } while (byte > 127);
    return value;
  };
  const step = () => { const value = next(); return value % 2 ? -(value + 1) / 2 : value / 2; };
  return content.class.map((label, index) => {
    const path = new Path2D(), box = [Infinity, Infinity, -Infinity, -Infinity];
    for (let rings = next(); rings > 0; rings--) {
      for (let points = next(), first = true; points > 0; points--, first = false) {
        x += step();
        y += step();
        const at = [x / content.subpixel, y / content.subpixel * aspect];
        if (first) path.moveTo(...at); else path.lineTo(...at);
        box[0] = Math.min(box[0], at[0]); box[1] = Math.min(box[1], at[1]);
        box[2] = Math.max(box[2], at[0]); box[3] = Math.max(box[3], at[1]);
      }
      path.closePath();
    }
    const confidence = content.confidence[index], instance = content.instance ? content.instance[index] : 0;
    return { label, path, box, area: content.area[index], confidence, instance };
  });
}

class GroundMap {
  constructor(element) {
    this.element = element;
    this.canvas = element.querySelector("canvas");
    this.context = this.canvas.getContext("2d");
    this.probe = document.createElement("canvas").getContext("2d");
    this.frame = report.frame;
    this.size = [this.frame.width, this.frame.height * this.frame.aspect];
    this.classes = new Map(report.classes.map((item) => [item.value, item]));
    this.hidden = new Set();
    this.pointers = new Map();
    this.view = { x: this.size[0] / 2, y: this.size[1] / 2, scale: 1 };
    this.hovered = null;
  }

  async open() {
    const stretch = (box) => [box[0], box[1] * this.frame.aspect, box[2], box[3] * this.frame.aspect];
    const grid = async (content) => content && new Grid({ ...content, box: stretch(content.box) }, await inflate(content.data));
    this.labels = await grid(report.labels);
    this.confidence = await grid(report.confidence);
    this.shapes = report.shapes ? decodeShapes(await inflate(report.shapes.data), report.shapes, this.frame.aspect) : [];
    this.failed = report.failed.map((item) => ({ ...item, box: stretch(item.box) }));
    this.imagery = byId("imagery");
    if (this.imagery) await this.imagery.decode();
    this.paintLabels();
    if (this.confidence) this.paintConfidence();
    this.listen();
    this.fit();
    this.canvas.dataset.ready = "true";
  }

  /* What is switched on, from the legend's own boxes. */
  shows(layer) {
    const box = document.querySelector(`input[name=layer][value=${layer}]`);
    return Boolean(box && box.checked);
  }

  paintLabels() {
    const table = new Uint32Array(256);
    for (const { value, color } of report.classes) table[value] = this.hidden.has(value) ? 0 : packed(color);
    this.labels.paint(table);
  }

  paintConfidence() {
    const table = new Uint32Array(256);
    for (let level = 1; level < 256; level++) table[level] = packed(rampColor((level - 1) / 254));
    this.confidence.paint(table);
    for (const ramp of document.querySelectorAll(".ramp")) ramp.style.background = `linear-gradient(90deg, ${RAMP})`;
    const small = byId("confidence-picture");
    if (!small) return;
    const ratio = this.size[1] / this.size[0];
    small.width = Math.min(900, this.confidence.width);
    small.height = Math.max(1, Math.round(small.width * ratio));
    small.getContext("2d").drawImage(this.confidence.canvas, 0, 0, small.width, small.height);
  }

  get fitting() {
    const { clientWidth, clientHeight } = this.canvas;
    return Math.min(clientWidth / this.size[0], clientHeight / this.size[1]) || 1;
  }

  fit() {
    this.move({ x: this.size[0] / 2, y: this.size[1] / 2, scale: this.fitting });
  }

  move({ x = this.view.x, y = this.view.y, scale = this.view.scale }) {
    const least = Math.min(1, this.fitting) / 2, most = Math.max(48, this.fitting * 4);
    this.view = { x: reduce(x, 0, this.size[0]), y: reduce(y, 0, this.size[1]), scale: reduce(scale, least, most) };
    this.canvas.dataset.scale = this.view.scale.toFixed(4);
    this.later();
  }

  /* Zoom by a factor so that what is at a point of the canvas stays there. */
  zoom(factor, point = [this.canvas.clientWidth / 2, this.canvas.clientHeight / 2]) {
    const [x, y] = this.placeOf(point), before = this.view.scale;
    this.move({ scale: before * factor });
    const kept = before / this.view.scale;
    this.move({ x: x + (this.view.x - x) * kept, y: y + (this.view.y - y) * kept });
  }

  placeOf([left, top]) {
    const { x, y, scale } = this.view;
    return [x + (left - this.canvas.clientWidth / 2) / scale, y + (top - this.canvas.clientHeight / 2) / scale];
  }

  later() {
    if (this.waiting) return;
    this.waiting = requestAnimationFrame(() => { this.waiting = 0; this.draw(); });
  }

  draw() {
    const { canvas, context, view } = this, ratio = window.devicePixelRatio || 1;
    const width = canvas.clientWidth, height = canvas.clientHeight;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    const scale = view.scale * ratio;
    context.setTransform(scale, 0, 0, scale, canvas.width / 2 - view.x * scale, canvas.height / 2 - view.y * scale);
    context.imageSmoothingQuality = "high";
    if (this.imagery && this.shows("imagery")) this.drawPicture(this.imagery, [0, 0, ...this.size], 1, view.scale < 6);
    const opacity = Number(byId("opacity")?.value ?? 100) / 100;
    if (this.shows("labels")) this.drawPicture(this.labels.canvas, this.labels.box, opacity, view.scale < 1);
    if (this.confidence && this.shows("confidence")) this.drawPicture(this.confidence.canvas, this.confidence.box, 0.9, false);
    if (this.shows("polygons")) this.drawShapes();
    if (this.shows("failed")) this.drawFailed();
    if (this.hovered) this.drawHovered();
    this.drawScale();
    if (this.canvas.matches(":focus-visible")) this.drawCross();
  }

  drawPicture(picture, [left, top, right, bottom], opacity, isSmooth) {
    this.context.globalAlpha = opacity;
    this.context.imageSmoothingEnabled = isSmooth;
    this.context.drawImage(picture, left, top, right - left, bottom - top);
    this.context.globalAlpha = 1;
  }

  isSeen([left, top, right, bottom]) {
    const [x, y] = this.placeOf([0, 0]), [endX, endY] = this.placeOf([this.canvas.clientWidth, this.canvas.clientHeight]);
    return left <= endX && right >= x && top <= endY && bottom >= y;
  }

  drawShapes() {
    const { context, view } = this, isOverLabels = this.shows("labels") || this.shows("confidence");
    const fine = reduce(view.scale, 0.5, 1.2);
    context.lineJoin = "round";
    for (const shape of this.shapes) {
      const { label, path, box } = shape;
      const isTiny = Math.max(box[2] - box[0], box[3] - box[1]) * view.scale < 1.5;
      if (isTiny || this.hidden.has(label) || !this.isSeen(box)) continue;
      if (!isOverLabels) {
        context.lineWidth = 2.6 / view.scale;
        context.strokeStyle = "rgb(10 12 14 / 55%)";
        context.stroke(path);
      }
      context.lineWidth = (isOverLabels ? fine : 1.3) / view.scale;
      context.strokeStyle = isOverLabels ? "rgb(12 14 16 / 70%)" : this.classes.get(label)?.color ?? "#ffffff";
      context.stroke(path);
    }
  }

  drawHovered() {
    const { context, view } = this;
    for (const [width, color] of [[5, "rgb(10 12 14 / 70%)"], [2.4, "#ffe45c"]]) {
      context.lineWidth = width / view.scale;
      context.strokeStyle = color;
      context.stroke(this.hovered.path);
    }
  }

  drawFailed() {
    const { context, view } = this;
    for (const { box: [left, top, right, bottom] } of this.failed) {
      context.save();
      const path = new Path2D();
      path.rect(left, top, right - left, bottom - top);
      context.clip(path);
      context.fillStyle = "rgb(163 50 27 / 22%)";
      context.fill(path);
      context.lineWidth = 2 / view.scale;
      context.strokeStyle = "rgb(214 69 38 / 95%)";
      const gap = 14 / view.scale;
      for (let x = left - (bottom - top); x < right; x += Math.max(gap, (right - left) / 60)) {
        context.beginPath();
        context.moveTo(x, bottom);
        context.lineTo(x + (bottom - top), top);
        context.stroke();
      }
      context.lineWidth = 3 / view.scale;
      context.stroke(path);
      context.restore();
    }
  }

  drawCross() {
    const { context, view } = this, arm = 9 / view.scale;
    for (const [width, color] of [[4, "#101315"], [1.6, "#ffffff"]]) {
      context.lineWidth = width / view.scale;
      context.strokeStyle = color;
      context.beginPath();
      context.moveTo(view.x - arm, view.y);
      context.lineTo(view.x + arm, view.y);
      context.moveTo(view.x, view.y - arm);
      context.lineTo(view.x, view.y + arm);
      context.stroke();
    }
  }

  drawScale() {
    const perPixel = (this.frame.metres ?? this.frame.factor) / this.view.scale;
    const most = 130 * perPixel, power = 10 ** Math.floor(Math.log10(most));
    const length = [5, 2, 1].map((step) => step * power).find((step) => step <= most);
    const name = this.frame.metres === null ? `${length} px` : length >= 1000 ? `${length / 1000} km`
      : length >= 1 ? `${length} m` : `${Math.round(length * 100)} cm`;
    const scale = this.element.querySelector(".scale");
    scale.firstElementChild.textContent = name;
    scale.lastElementChild.style.width = `${length / perPixel}px`;
  }

  /* What is at a place: a polygon where there is one, else the label of the picture. */
  find([x, y]) {
    const failed = this.shows("failed") && this.failed.find(({ box }) => x >= box[0] && x < box[2] && y >= box[1] && y < box[3]);
    if (failed) return { failed };
    for (let index = this.shapes.length - 1; index >= 0; index--) {
      const shape = this.shapes[index], [left, top, right, bottom] = shape.box;
      if (x < left || x > right || y < top || y > bottom || this.hidden.has(shape.label)) continue;
      if (this.probe.isPointInPath(shape.path, x, y, "evenodd")) return { shape, label: shape.label };
    }
    const label = this.labels.at(x, y);
    return this.classes.has(label) && !this.hidden.has(label) ? { label } : {};
  }

  facts({ shape, label, failed }, [x, y]) {
    if (failed) return [["Block", failed.name], ["Failed", failed.reason]];
    const level = this.confidence?.at(x, y), facts = [];
    if (shape) {
      if (shape.instance) facts.push(["Object", shape.instance.toLocaleString("en")]);
      facts.push(["Area", shownArea(shape.area)]);
      if (shape.confidence !== null) facts.push([report.shapes.score, `${Math.round(shape.confidence * 100)} %`]);
    }
    if (level && !report.shapes?.instance) facts.push(["Confidence here", `${Math.round((level - 1) / 2.54)} %`]);
    return label === undefined ? [] : facts;
  }

  /* Point at a place: highlight, tell, and say it aloud when asked to. */
  point(point, { isSpoken = false } = {}) {
    const place = this.placeOf(point), found = this.find(place), facts = this.facts(found, place);
    if (this.hovered !== (found.shape ?? null)) {
      this.hovered = found.shape ?? null;
      this.later();
    }
    const name = found.failed ? "No result" : this.classes.get(found.label)?.name;
    this.tell(point, name, this.classes.get(found.label)?.color, facts);
    this.element.querySelector(".place").textContent = this.coordinates(place);
    if (isSpoken) byId("spoken").textContent = name ? [name, ...facts.map((fact) => fact.join(" "))].join(", ") : "No data";
  }

  tell([left, top], name, color, facts) {
    const tip = this.element.querySelector(".tip");
    tip.hidden = !name;
    if (!name) return;
    const heading = document.createElement("b"), list = document.createElement("dl");
    if (color) {
      const swatch = document.createElement("span");
      swatch.className = "swatch";
      swatch.style.background = color;
      heading.append(swatch);
    }
    heading.append(name);
    for (const fact of facts) {
      for (const [kind, text] of [["dt", fact[0]], ["dd", fact[1]]]) {
        const part = document.createElement(kind);
        part.textContent = text;
        list.append(part);
      }
    }
    tip.replaceChildren(heading, list);
    const { clientWidth, clientHeight } = this.element;
    tip.style.left = `${left + 16 + tip.offsetWidth > clientWidth ? Math.max(4, left - 16 - tip.offsetWidth) : left + 16}px`;
    tip.style.top = `${reduce(top + 16, 4, Math.max(4, clientHeight - tip.offsetHeight - 4))}px`;
  }

  leave() {
    this.element.querySelector(".tip").hidden = true;
    this.element.querySelector(".place").textContent = "";
    if (this.hovered) { this.hovered = null; this.later(); }
  }

  /* CRS coordinates and, where there are any, longitude and latitude between the points that the page knows. */
  coordinates([x, y]) {
    const row = y / this.frame.aspect, [a, b, c, d, e, f] = this.frame.transform, lattice = this.frame.lattice;
    if (x < 0 || row < 0 || x > this.frame.width || row > this.frame.height) return "";
    const places = Math.abs(a) + Math.abs(b) < 0.01 ? 6 : 1;
    const own = [a * x + b * row + c, d * x + e * row + f].map((value) => value.toFixed(places)).join(", ");
    if (!lattice) return own;
    const last = lattice.count - 1, across = x / this.frame.width * last, down = row / this.frame.height * last;
    const column = Math.min(last - 1, Math.floor(across)), line = Math.min(last - 1, Math.floor(down));
    const [right, below] = [across - column, down - line];
    const between = (values) => {
      const at = line * lattice.count + column;
      return (values[at] * (1 - right) + values[at + 1] * right) * (1 - below)
        + (values[at + lattice.count] * (1 - right) + values[at + lattice.count + 1] * right) * below;
    };
    const latitude = between(lattice.latitude), longitude = ((between(lattice.longitude) + 540) % 360 + 360) % 360 - 180;
    if (!Number.isFinite(latitude)) return own;
    const degrees = (value, [plus, minus]) => `${Math.abs(value).toFixed(5)}° ${value < 0 ? minus : plus}`;
    const earth = `${degrees(latitude, "NS")}, ${degrees(longitude, "EW")}`;
    return this.frame.geographic ? earth : `${earth}\n${own}`;
  }

  listen() {
    const { canvas } = this;
    canvas.addEventListener("pointerdown", (event) => this.press(event));
    canvas.addEventListener("pointermove", (event) => this.drag(event));
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => this.release(event));
    canvas.addEventListener("pointerleave", () => this.leave());
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      const pixels = event.deltaY * (event.deltaMode === 1 ? 18 : event.deltaMode === 2 ? 400 : 1);
      this.zoom(Math.exp(-reduce(pixels, -240, 240) * (event.ctrlKey ? 0.01 : 0.0022)), this.pointOf(event));
    }, { passive: false });
    canvas.addEventListener("dblclick", (event) => this.zoom(event.shiftKey ? 0.5 : 2, this.pointOf(event)));
    canvas.addEventListener("keydown", (event) => this.key(event));
    for (const name of ["focus", "blur"]) canvas.addEventListener(name, () => { this.leave(); this.later(); });
    const actions = { in: () => this.zoom(1.6), out: () => this.zoom(1 / 1.6), fit: () => this.fit(), full: () => this.fill() };
    for (const button of this.element.querySelectorAll(".tools button")) button.addEventListener("click", actions[button.value]);
    for (const box of document.querySelectorAll(".legend input")) box.addEventListener("input", () => this.change(box));
    new ResizeObserver(() => this.resize()).observe(canvas);
    window.addEventListener("beforeprint", () => this.print());
    window.addEventListener("afterprint", () => this.element.classList.remove("printed"));
  }

  /* The size on paper before the page is laid out for it: nothing is drawn once that has begun. */
  print() {
    this.element.classList.add("printed");
    this.resize();
    this.draw();
  }

  resize() {
    const isWhole = Math.abs(this.view.scale / (this.fitted ?? this.view.scale) - 1) < 0.01;
    this.fitted = this.fitting;
    if (isWhole) this.fit(); else this.later();
  }

  change(box) {
    if (box.name === "class") {
      if (box.checked) this.hidden.delete(Number(box.value)); else this.hidden.add(Number(box.value));
      this.paintLabels();
    }
    this.leave();
    this.later();
  }

  fill() {
    if (document.fullscreenElement) document.exitFullscreen(); else this.element.requestFullscreen?.();
  }

  pointOf(event) {
    const { left, top } = this.canvas.getBoundingClientRect();
    return [event.clientX - left, event.clientY - top];
  }

  press(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, this.pointOf(event));
    this.isTap = this.pointers.size === 1;
    this.canvas.classList.add("dragging");
  }

  /* One pointer moves the map, two zoom it; without any it is pointed at. */
  drag(event) {
    const now = this.pointOf(event), before = this.pointers.get(event.pointerId);
    if (!before) {
      this.point(now);
      return;
    }
    if (this.isTap && Math.hypot(now[0] - before[0], now[1] - before[1]) < 3) return;
    this.isTap = false;
    this.leave();
    const { x, y, scale } = this.view;
    if (this.pointers.size === 1) this.move({ x: x - (now[0] - before[0]) / scale, y: y - (now[1] - before[1]) / scale });
    if (this.pointers.size === 2) {
      const [, other] = [...this.pointers].find(([id]) => id !== event.pointerId);
      const apart = (point) => Math.max(8, Math.hypot(point[0] - other[0], point[1] - other[1]));
      const middle = [(before[0] + other[0]) / 2, (before[1] + other[1]) / 2];
      this.move({ x: x - (now[0] - before[0]) / 2 / scale, y: y - (now[1] - before[1]) / 2 / scale });
      this.zoom(apart(now) / apart(before), middle);
    }
    this.pointers.set(event.pointerId, now);
  }

  release(event) {
    if (this.isTap && this.pointers.has(event.pointerId)) this.point(this.pointOf(event), { isSpoken: event.pointerType !== "mouse" });
    this.pointers.delete(event.pointerId);
    this.isTap = false;
    if (!this.pointers.size) this.canvas.classList.remove("dragging");
  }

  key(event) {
    const { x, y, scale } = this.view, step = (event.shiftKey ? 240 : 60) / scale;
    const actions = {
      ArrowLeft: () => this.move({ x: x - step }), ArrowRight: () => this.move({ x: x + step }),
      ArrowUp: () => this.move({ y: y - step }), ArrowDown: () => this.move({ y: y + step }),
      "+": () => this.zoom(1.4), "=": () => this.zoom(1.4), "-": () => this.zoom(1 / 1.4), _: () => this.zoom(1 / 1.4),
      0: () => this.fit(), Home: () => this.fit(), Escape: () => this.leave(), Enter: () => {}, " ": () => {},
    };
    if (!(event.key in actions) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    actions[event.key]();
    if (event.key !== "Escape") this.point([this.canvas.clientWidth / 2, this.canvas.clientHeight / 2], { isSpoken: true });
  }
}

/* As geoseg.report.wording.area does. */
function showUnits() {
  const unit = document.querySelector("input[name=unit]:checked").value, [size, name] = report.units[unit];
  const decimals = unit === "m2" ? 0 : 2, least = 10 ** -decimals;
  for (const cell of document.querySelectorAll("[data-area]")) {
    const value = Number(cell.dataset.area) / size;
    const text = value.toLocaleString("en", { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
    cell.textContent = value > 0 && value < least / 2 ? `< ${least} ${name}` : `${text} ${name}`;
  }
}

for (const choice of document.querySelectorAll("input[name=unit]")) choice.addEventListener("change", showUnits);
for (const button of document.querySelectorAll(".command button")) {
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(button.parentElement.querySelector("pre").textContent);
    button.textContent = "Copied";
  });
}

const map = byId("map");
if (map && typeof DecompressionStream === "undefined") byId("no-map").hidden = false;
else if (map) new GroundMap(map).open();
