// The page of a run: asks once a second what is new, and draws it. Nothing is loaded from anywhere else.
"use strict";

const FRONT = 1000, BACK = 10000, GONE = 5000; // ms between questions: in front, in the back, and when nobody answers
const PATIENCE = 10000; // ms until a question counts as not answered
const SKIPPED = 0, WAITING = 1, DONE = 254, FAILED = 255; // values of cells; between them the share that is done
const EMPTY = 0, NODATA = 255; // values of the picture; between them entries of the legend
const LATE = 15; // seconds without news after which a run is said to be silent
const PHASES = {
  opening: "opening the model", compiling: "compiling", running: "running", writing: "writing results",
  done: "done", incomplete: "done, but for failed blocks", stopped: "stopped", broken: "broken off",
};
const OVER = ["done", "incomplete", "stopped", "broken"];

const $ = (id) => document.getElementById(id);
const state = {
  run: "", revision: -1, layout: {}, cells: new Uint8Array(), picture: new Uint8Array(), head: null,
  running: [], cursor: null, ended: false,
};

const stageOf = (name) => (state.layout.table || {})[name] || { does: "", blocks: false }; // of geoseg's table of stages

// ---- numbers as people read them

const whole = (value) => Math.round(value).toLocaleString("en");
const length = (seconds) => {
  const s = Math.round(seconds), m = Math.floor(s / 60);
  if (s < 100) return `${s} s`;
  if (m < 100) return `${m}:${String(s % 60).padStart(2, "0")} min`;
  return `${Math.floor(m / 60)}:${String(m % 60).padStart(2, "0")} h`;
};
const bytes = (count) => {
  const mib = count / 2 ** 20;
  return mib < 1000 ? [whole(mib), "MiB"] : [(mib / 1024).toFixed(1), "GiB"];
};
const speed = (value) => (value >= 100 ? whole(value) : value.toFixed(value >= 10 ? 1 : value >= 1 ? 2 : 3));
const percent = (share) => {
  const value = share * 100;
  return value > 0 && value < 1 ? "< 1" : String(value < 100 ? Math.floor(value) : 100);
};
const decoded = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

// ---- what the scheduler answers

async function ask() {
  const wanted = new URLSearchParams(location.search).get("run") || "";
  const answer = await fetch(`geoseg/state?run=${encodeURIComponent(wanted)}&since=${state.revision}`, {
    cache: "no-store",
    signal: AbortSignal.timeout(PATIENCE),
  });
  if (!answer.ok) throw new Error(answer.statusText);
  take(await answer.json());
}

function take(news) {
  choose(news.runs, news.run);
  $("main").hidden = !news.run;
  $("empty").hidden = Boolean(news.run);
  if (!news.run) return;
  if (news.run !== state.run && !news.layout) { // the other run's revision was asked for
    state.run = news.run;
    state.revision = -1;
    return;
  }
  state.run = news.run;
  state.revision = news.revision;
  if (news.layout) {
    state.layout = news.layout;
    state.cells = decoded(news.cells);
    state.picture = decoded(news.picture);
  } else {
    for (const [index, value] of news.changes) state.cells[index] = value;
    for (const tile of news.tiles) paste(...tile);
  }
  const pictured = Boolean(news.layout || news.tiles.length) || !state.head;
  state.head = news.head;
  state.running = news.running;
  state.ended = OVER.includes(news.head.phase);
  tell(news);
  drawBlocks();
  if (pictured) drawLabels();
}

function paste(left, top, width, height, text) {
  const values = decoded(text), across = state.layout.picture[1];
  for (let row = 0; row < height; row++) {
    state.picture.set(values.subarray(row * width, (row + 1) * width), (top + row) * across + left);
  }
}

async function watch(turn = ++watch.turn) {
  let pause = document.hidden ? BACK : FRONT;
  try {
    await ask();
  } catch {
    pause = GONE;
    if (state.head && !state.ended) news("The scheduler does not answer: it has ended, or cannot be reached.", true);
  }
  if (state.ended && pause !== GONE) pause = BACK;
  if (turn === watch.turn) watch.timer = setTimeout(watch, pause, turn);
}
watch.turn = 0;

// ---- text

function text(id, value) {
  const element = $(id);
  if (element.textContent !== value) element.textContent = value;
}

function figure(id, value, unit, more) {
  const element = $(id), shown = unit ? `${value} ${unit}` : value;
  if (element.textContent !== shown) {
    element.replaceChildren(value, ...(unit ? [" ", make("small", unit)] : []));
  }
  text(`${id}-more`, more);
}

function make(tag, content, attributes = {}) {
  const element = document.createElement(tag);
  if (content !== undefined) element.append(content);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

function news(sentence, late = false) {
  text("news", sentence);
  $("news").classList.toggle("late", late);
}

function choose(runs, current) {
  $("choice").hidden = runs.length < 2;
  const names = runs.map((item) => item.run).join();
  if ($("runs").dataset.names !== names) {
    $("runs").dataset.names = names;
    $("runs").replaceChildren(...runs.map((item) => make("option", item.title, { value: item.run })));
  }
  $("runs").value = current;
}

function tell(answer) {
  const head = answer.head;
  text("title", head.title);
  document.title = state.ended ? `geoseg: ${PHASES[head.phase]}` : `${percent(head.share)} % · geoseg`;
  $("phase").dataset.phase = head.phase;
  text("phase", PHASES[head.phase]);
  const share = head.phase === "done" ? 1 : head.share;
  $("share").setAttribute("aria-valuenow", percent(share).replace("< ", ""));
  $("share").firstElementChild.style.width = `${100 * share}%`;
  tellFigures(head, share, answer);
  tellStates(head);
  tellStages(head);
  tellWorkers(head, answer);
  tellFailures(head);
  const files = head.writing.map((path) => path.split("/").pop());
  if (answer.age > LATE && !state.ended) news(`No news of this run for ${length(answer.age)}.`, true);
  else if (head.message) news(head.message, true);
  else if (head.phase === "done" || head.phase === "incomplete") news(files.length ? `Written: ${files.join(", ")}` : "");
  else if (head.phase === "writing") news(`Writing ${files.join(", ")}`);
  else news("");
}

function tellFigures(head, share, answer) {
  const blocks = head.blocks, all = blocks.waiting + blocks.part + blocks.done + blocks.failed;
  figure("done", percent(share), "%", all ? `${whole(blocks.done)} of ${whole(all)} blocks` : "");
  const runs = head.phase === "running";
  figure("pace", runs ? speed(head.pace) : "–", runs ? "Mpx/s" : "", head.mean_pace ? `${speed(head.mean_pace)} Mpx/s mean` : "");
  figure("left", head.left === null ? "–" : length(head.left), "", `${length(head.elapsed)} gone`);
  const largest = answer.workers.length ? answer.workers[0][1] : 0, plan = head.planned_bytes;
  figure("memory", ...(largest ? bytes(largest) : ["–", ""]), largest && plan ? `of ${bytes(plan).join(" ")} planned` : "");
  $("memory").classList.toggle("over", Boolean(plan) && largest > plan);
  figure("failed", whole(head.failed), "", head.failed ? "tried again at the next start" : "");
  $("failed-figure").classList.toggle("bad", head.failed > 0);
}

function tellStates(head) {
  const counts = { ...head.blocks, running: 0 };
  const first = Object.keys(head.stages).find((stage) => stageOf(stage).blocks);
  for (const [stage, ...place] of state.running) {
    if (place.length !== 2 || !stageOf(stage).blocks) continue;
    const from = stage === first ? "waiting" : "part";
    if (counts[from] > 0) {
      counts[from] -= 1;
      counts.running += 1;
    }
  }
  for (const item of $("states").children) {
    const count = counts[item.dataset.state] || 0, shown = whole(count);
    const number = item.querySelector("b");
    if (number.textContent !== shown) number.textContent = shown;
    item.hidden = count === 0 && item.dataset.state === "skipped";
  }
  const words = Object.entries(counts).map(([name, count]) => `${whole(count)} ${name === "part" ? "part done" : name}`);
  $("blocks").setAttribute("aria-label", `Map of blocks by state: ${words.join(", ")}`);
}

function rows(table, count, build) {
  const body = $(table).tBodies[0];
  while (body.rows.length > count) body.deleteRow(-1);
  while (body.rows.length < count) body.append(build());
  return [...body.rows];
}

function bar(parts, name) {
  const track = make("div", undefined, { class: `bar ${name}` });
  for (const part of parts) track.append(make("span", undefined, { class: part }));
  return track;
}

function cell(content, kind) {
  const element = make("td", content);
  if (kind) element.className = kind;
  return element;
}

function tellStages(head) {
  const stages = Object.entries(head.stages);
  const lines = rows("stages", stages.length, () => {
    const line = make("tr");
    line.append(make("th", undefined, { scope: "row" }), cell(bar(["kept", "done", "failed"], "steps"), "wide"), cell("", "number"), cell("", "number"));
    return line;
  });
  lines.forEach((line, index) => {
    const [name, work] = stages[index], all = Math.max(1, work.total);
    if (line.cells[0].dataset.stage !== name) {
      line.cells[0].dataset.stage = name;
      line.cells[0].replaceChildren(name, make("small", stageOf(name).does));
    }
    let start = 0;
    [...line.querySelectorAll("span")].forEach((span) => {
      span.style.left = `${100 * start}%`;
      span.style.width = `${(100 * work[span.className]) / all}%`;
      start += work[span.className] / all;
    });
    const ended = work.done + work.kept + work.failed;
    line.cells[2].textContent = `${whole(ended)} / ${whole(work.total)}`;
    line.cells[2].title = work.kept ? `${whole(work.kept)} from an earlier start` : "";
    line.cells[3].textContent = work.done ? `${speed(work.seconds / work.done)} s` : "–";
  });
}

function tellWorkers(head, answer) {
  const plan = head.planned_bytes, workers = answer.workers;
  const most = 1.15 * Math.max(plan || 0, workers.length ? workers[0][1] : 1);
  const lines = rows("workers", workers.length, () => {
    const line = make("tr");
    line.append(make("th", "", { scope: "row" }), cell(bar([""], "plan"), "wide"), cell("", "number"));
    return line;
  });
  lines.forEach((line, index) => {
    const [name, size] = workers[index], [track, span] = line.querySelectorAll(".bar, .bar span");
    line.cells[0].textContent = /^\d+$/.test(name) ? `worker ${name}` : name;
    span.style.width = `${(100 * size) / most}%`;
    span.classList.toggle("over", Boolean(plan) && size > plan);
    track.style.setProperty("--mark", `${(100 * (plan || 0)) / most}%`);
    track.classList.toggle("unplanned", !plan);
    line.cells[2].textContent = bytes(size).join(" ");
  });
  const more = answer.worker_count - workers.length;
  const others = more > 0 ? `${whole(more)} more workers, each with less. ` : "";
  const known = plan ? `The mark is the plan: ${bytes(plan).join(" ")}.` : "";
  text("workers-note", workers.length ? others + known : "No worker has told its memory yet.");
}

function tellFailures(head) {
  const failures = head.failures;
  $("failures-none").hidden = failures.length > 0;
  $("failures").hidden = failures.length === 0;
  const lines = rows("failures", failures.length, () => {
    const line = make("tr");
    line.append(cell(make("button", "", { type: "button" })), cell(""), cell(""));
    line.querySelector("button").addEventListener("click", (event) => point(event.target.textContent));
    return line;
  });
  lines.forEach((line, index) => {
    const { id, stage, message } = failures[index], values = [id, stage, message];
    if (line.dataset.of === values.join()) return;
    line.dataset.of = values.join();
    const button = line.querySelector("button");
    button.textContent = id;
    button.title = "Show on the map";
    line.cells[1].textContent = stage;
    line.cells[2].textContent = message;
  });
  const more = head.failed - failures.length;
  $("failures-note").hidden = more <= 0;
  text("failures-note", more > 0 ? `${whole(more)} more are named in run.json.` : "");
}

// ---- maps

function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function channels(hex) {
  return [1, 3, 5].map((start) => parseInt(hex.slice(start, start + 2), 16));
}

function mixed(from, to, share) {
  const a = channels(from), b = channels(to);
  return a.map((value, index) => Math.round(value + (b[index] - value) * share));
}

function fit(canvas) { // the raster's shape, as large as there is room; returns device px per raster px
  const { rows, cols } = state.layout, height = rows[rows.length - 1], width = cols[cols.length - 1];
  const room = canvas.parentElement.clientWidth, ratio = window.devicePixelRatio || 1;
  const scale = Math.min(room / width, Math.max(240, Math.min(460, window.innerHeight * 0.55)) / height);
  const across = Math.max(1, Math.round(width * scale * ratio)), down = Math.max(1, Math.round(height * scale * ratio));
  if (canvas.width !== across || canvas.height !== down) {
    canvas.width = across;
    canvas.height = down;
    canvas.style.width = `${across / ratio}px`;
    canvas.style.height = `${down / ratio}px`;
  }
  return [down / height, across / width];
}

function box(scale, row, col, below = row + 1, right = col + 1) { // of cells, device px
  const { rows, cols } = state.layout;
  const top = Math.round(rows[row] * scale[0]), left = Math.round(cols[col] * scale[1]);
  const bottom = Math.round(rows[Math.min(below, rows.length - 1)] * scale[0]);
  const end = Math.round(cols[Math.min(right, cols.length - 1)] * scale[1]);
  return [left, top, Math.max(1, end - left), Math.max(1, bottom - top)];
}

function shades() { // of each value of a cell; what is skipped has none
  const waiting = color("--waiting"), done = color("--done");
  return Array.from({ length: 256 }, (_, value) => {
    if (value === SKIPPED) return null;
    if (value === WAITING) return channels(waiting);
    if (value === DONE) return channels(done);
    return value === FAILED ? channels(color("--failed")) : mixed(waiting, done, 0.12 + (0.68 * value) / DONE);
  });
}

function drawBlocks() {
  if (!state.layout.rows) return;
  const canvas = $("blocks"), scale = fit(canvas), context = canvas.getContext("2d");
  const down = state.layout.rows.length - 1, across = state.layout.cols.length - 1;
  const isCoarse = Math.min(canvas.width / across, canvas.height / down) < 7; // no room for gaps and marks
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.fillStyle = hatched(context);
  context.fillRect(0, 0, canvas.width, canvas.height);
  if (isCoarse) {
    context.imageSmoothingEnabled = false;
    context.drawImage(painted(state.cells, down, across, shades()), 0, 0, canvas.width, canvas.height);
    state.cells.forEach((value, index) => {
      if (value === FAILED) spot(context, box(scale, Math.floor(index / across), index % across), color("--failed"));
    });
  } else {
    drawCells(context, scale, down, across);
  }
  drawRunning(context, scale, isCoarse ? 0 : 1);
  if (state.cursor) frame(context, box(scale, ...state.cursor), color("--ink"), 2);
}

function drawCells(context, scale, down, across) {
  const styles = shades().map((shade) => shade && `rgb(${shade.join()})`), ground = color("--ground");
  for (let row = 0; row < down; row++) {
    for (let col = 0; col < across; col++) {
      const value = state.cells[row * across + col], [x, y, width, height] = box(scale, row, col);
      if (value === SKIPPED) continue;
      context.fillStyle = ground;
      context.fillRect(x, y, width, height);
      context.fillStyle = styles[value];
      context.fillRect(x, y, width - 1, height - 1);
      if (value === FAILED && Math.min(width, height) >= 9) cross(context, x, y, width - 1, height - 1);
    }
  }
}

function painted(values, down, across, colors) { // a canvas with a pixel a value
  const canvas = document.createElement("canvas");
  canvas.width = across;
  canvas.height = down;
  const pen = canvas.getContext("2d"), image = pen.createImageData(across, down);
  const pixels = new Uint32Array(image.data.buffer); // opaque: alpha, blue, green, red
  const packed = colors.map((shade) => (shade ? ((255 << 24) | (shade[2] << 16) | (shade[1] << 8) | shade[0]) >>> 0 : 0));
  for (let index = 0; index < values.length; index++) pixels[index] = packed[values[index]];
  pen.putImageData(image, 0, 0);
  return canvas;
}

function drawRunning(context, scale, gap) {
  const factor = state.layout.factor, amber = color("--running"), ink = color("--ink");
  for (const [stage, ...place] of state.running) {
    const [level, row, col] = place.length === 3 ? place : [0, ...place];
    if (place.length === 2 && !stageOf(stage).blocks) continue;
    const size = 2 ** level, cellOf = (value) => Math.floor(value / factor);
    const area = box(scale, cellOf(row * size), cellOf(col * size), cellOf((row + 1) * size - 1) + 1, cellOf((col + 1) * size - 1) + 1);
    if (level === 0 && gap === 0) spot(context, area, amber);
    if (level === 0 && gap > 0) {
      context.fillStyle = amber;
      context.fillRect(area[0], area[1], area[2] - gap, area[3] - gap);
    }
    if (Math.min(area[2], area[3]) >= 7) frame(context, area, level === 0 ? ink : amber, 1.5, gap);
  }
}

function spot(context, [x, y, width, height], fill) { // what must not be overlooked, however small its cell
  const ratio = window.devicePixelRatio || 1, side = Math.max(7 * ratio, Math.min(width, height));
  const left = x + width / 2 - side / 2, top = y + height / 2 - side / 2;
  context.fillStyle = color("--panel");
  context.fillRect(left - ratio, top - ratio, side + 2 * ratio, side + 2 * ratio);
  context.fillStyle = fill;
  context.fillRect(left, top, side, side);
}

function frame(context, [x, y, width, height], stroke, thickness, gap = 0) {
  const line = thickness * (window.devicePixelRatio || 1);
  context.strokeStyle = stroke;
  context.lineWidth = line;
  context.strokeRect(x + line / 2, y + line / 2, width - gap - line, height - gap - line);
}

function cross(context, x, y, width, height) {
  const arm = Math.min(width, height) * 0.25, cx = x + width / 2, cy = y + height / 2;
  context.strokeStyle = color("--panel");
  context.lineWidth = Math.max(1.5, arm / 2.5);
  context.beginPath();
  context.moveTo(cx - arm, cy - arm);
  context.lineTo(cx + arm, cy + arm);
  context.moveTo(cx + arm, cy - arm);
  context.lineTo(cx - arm, cy + arm);
  context.stroke();
}

function hatched(context) {
  const tile = document.createElement("canvas"), size = 6;
  tile.width = tile.height = size;
  const pen = tile.getContext("2d");
  pen.strokeStyle = color("--hatch");
  pen.beginPath();
  for (const shift of [-size, 0, size]) {
    pen.moveTo(shift, size);
    pen.lineTo(shift + size, 0);
  }
  pen.stroke();
  return context.createPattern(tile, "repeat");
}

function drawLabels() {
  if (!state.layout.rows) return;
  const [height, width] = state.layout.picture, legend = state.head.legend, canvas = $("labels");
  const colors = new Array(256).fill(null), counts = new Array(256).fill(0);
  colors[EMPTY] = channels(color("--track"));
  legend.forEach(([, hex], index) => (colors[index + 1] = channels(hex)));
  for (const value of state.picture) counts[value] += 1;
  const small = painted(state.picture, height, width, colors);
  fit(canvas);
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = canvas.width < width;
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.drawImage(small, 0, 0, canvas.width, canvas.height);
  veil(context);
  tellClasses(legend, counts.slice(1, legend.length + 1));
}

function veil(context) { // what is skipped looks like that here too
  const { rows, cols } = state.layout, across = cols.length - 1, hatch = hatched(context);
  const scale = [context.canvas.height / rows[rows.length - 1], context.canvas.width / cols[across]];
  if (!state.cells.includes(SKIPPED)) return;
  state.cells.forEach((value, index) => {
    if (value !== SKIPPED) return;
    const area = box(scale, Math.floor(index / across), index % across);
    context.clearRect(...area);
    context.fillStyle = hatch;
    context.fillRect(...area);
  });
}

function tellClasses(legend, counts) {
  const all = counts.reduce((sum, count) => sum + count, 0);
  $("labels-note").textContent = all ? "Share of what the picture shows." : "Grows as blocks are finished.";
  $("classes").replaceChildren(
    ...legend.map(([name, hex], index) => {
      const item = make("li"), spot = make("i");
      spot.style.background = hex;
      item.append(spot, name, " ");
      if (all) item.append(make("b", `${percent(counts[index] / all)} %`));
      return item;
    })
  );
}

// ---- pointing at blocks

function point(id) {
  const place = id.split("-").map(Number), size = 2 ** (place.length === 3 ? place[0] : 0);
  const [row, col] = place.slice(-2).map((value) => Math.floor((value * size) / state.layout.factor));
  move(row, col);
  $("blocks").focus();
}

function move(row, col) {
  const { rows, cols } = state.layout;
  if (!rows) return;
  state.cursor = [Math.min(Math.max(row, 0), rows.length - 2), Math.min(Math.max(col, 0), cols.length - 2)];
  text("readout", described(...state.cursor));
  drawBlocks();
}

function described(row, col) {
  const { cols, factor, stages } = state.layout, value = state.cells[row * (cols.length - 1) + col];
  const shown = (index) => (factor === 1 ? `${index}` : `${index * factor} to ${(index + 1) * factor - 1}`);
  const name = factor === 1 ? `Block ${row}-${col}` : `Blocks in rows ${shown(row)}, columns ${shown(col)}`;
  const busy = state.running.find(
    ([stage, ...place]) =>
      place.length === 2 && stageOf(stage).blocks && place.every((at, axis) => Math.floor(at / factor) === [row, col][axis])
  );
  if (busy && value !== FAILED) return `${name}: running, ${busy[0]}`;
  if (value === SKIPPED) return `${name}: skipped, outside what is wanted`;
  if (value === WAITING) return `${name}: waiting`;
  if (value === DONE) return `${name}: done`;
  if (value === FAILED) return factor === 1 ? `${name}: failed` : `${name}: one or more have failed`;
  const share = (value - 2) / (DONE - 2);
  return factor === 1 ? `${name}: ${Math.ceil(share * stages)} of ${stages} stages done` : `${name}: ${percent(share)} % done`;
}

const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

$("blocks").addEventListener("keydown", (event) => {
  const step = STEPS[event.key];
  if (!step) return;
  event.preventDefault();
  move(...(state.cursor || [0, 0]).map((at, axis) => at + (state.cursor ? step[axis] : 0)));
});

$("blocks").addEventListener("pointermove", (event) => {
  const { rows, cols } = state.layout, frameOf = event.target.getBoundingClientRect();
  if (!rows) return;
  const at = (starts, share) => {
    const px = share * starts[starts.length - 1];
    return starts.findLastIndex((start) => start <= px);
  };
  move(at(rows, (event.clientY - frameOf.top) / frameOf.height), at(cols, (event.clientX - frameOf.left) / frameOf.width));
});

$("blocks").addEventListener("pointerleave", () => {
  if (document.activeElement === $("blocks")) return;
  state.cursor = null;
  text("readout", "Point at a block, or move with the arrow keys.");
  drawBlocks();
});

$("runs").addEventListener("change", (event) => {
  history.replaceState(null, "", `?run=${encodeURIComponent(event.target.value)}`);
  state.revision = -1;
  again();
});

function again() {
  clearTimeout(watch.timer);
  watch();
}

function redraw() {
  if (!state.head) return;
  drawBlocks();
  drawLabels();
}

document.addEventListener("visibilitychange", () => document.hidden || again());
window.addEventListener("resize", redraw);
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
watch();
