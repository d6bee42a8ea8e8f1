// The page of `agg demo`: clicks on a canvas, and masks from the server.
import { answer, attempt } from "/static/answers.js";
import { drawClick, greyLevels, layerOf } from "/static/overlay.js";
import { Stage } from "/static/stage.js";

const COLOURS = [[47, 140, 255], [224, 130, 20], [120, 94, 240], [0, 158, 115], [204, 121, 167], [213, 94, 0], [86, 180, 233]];
const element = (id) => document.getElementById(id);

let facts = { granularities: [], images: [] };
let image = null; // { key, name, width, height, has_truth }
let objects = [];
let active = 0;
let sign = true;
let requests = 0;
let opens = 0;

const stage = new Stage(element("canvas"), { click: addClick, draw: drawMasks, hasCross: true });

const newObject = () => ({ label: "", clicks: [], granularity: 1, masks: new Map() });
const current = () => objects[active];
const shownGranularity = (object) => (facts.granularities.length ? object.granularity : null);

const post = async (path, body) => answer(await fetch(path, { method: "POST", body }));

// Images

const close = ({ key }) => fetch(`/api/images/${key}`, { method: "DELETE" });

// Open an image; of several that are opened at once, the last one is shown.
async function open(query, body) {
  const number = ++opens;
  const isLast = () => number === opens;
  await attempt(async () => {
    const opened = await (await post(`/api/images?${new URLSearchParams(query)}`, body)).json();
    try {
      const pixels = new Image();
      pixels.src = `/api/images/${opened.key}/pixels`;
      if (isLast()) await pixels.decode();
      if (isLast()) show(opened, pixels);
    } finally {
      if (image !== opened) close(opened);
    }
  }, isLast);
  // That of the shown image, also after a failure; none of the list for an upload, so that each can be chosen again.
  if (image && isLast()) element("images").value = image.name;
}

function show(opened, pixels) {
  if (image) close(image);
  image = opened;
  objects = [newObject()];
  active = 0;
  element("objects").replaceChildren(); // The inputs name objects of the image before.
  stage.show(pixels, opened.width, opened.height);
  element("canvas").dataset.image = opened.name;
  const smaller = opened.full_width === opened.width ? "" : `, shown at ${opened.width} x ${opened.height}`;
  element("size").textContent = `${opened.full_width} x ${opened.full_height} px${smaller}`;
  refresh();
}

const upload = (file) => open({ called: file.name }, file);

// Clicks and masks

function addClick(row, col, positive) {
  if (!image) return;
  current().clicks.push([row, col, sign === positive]);
  changed();
}

function changed() {
  const object = current();
  object.masks = new Map();
  refresh();
  if (object.clicks.length) load(object);
}

async function load(object) {
  const number = ++requests;
  const clicks = [...object.clicks];
  const { masks } = object; // Other clicks have a map of their own, which these masks are not for.
  const chosen = shownGranularity(object);
  const isCurrent = () => number === requests && masks === current().masks;
  await attempt(async () => {
    await fetchMasks(masks, clicks, [chosen], true);
    if (!isCurrent()) return;
    refresh();
    const others = facts.granularities.filter((each) => each !== chosen && !masks.has(each));
    others.sort((one, other) => Math.abs(one - chosen) - Math.abs(other - chosen));
    for (const part of [others.slice(0, 2), others.slice(2)]) {
      if (!part.length || !isCurrent()) continue;
      await fetchMasks(masks, clicks, part, false);
      if (isCurrent()) refresh();
    }
  }, isCurrent);
}

// Ask for masks and add them to a map.
async function fetchMasks(masks, clicks, granularities, urgent) {
  const began = performance.now();
  const response = await post(`/api/images/${image.key}/masks`, JSON.stringify({ clicks, granularities, urgent }));
  const { masks: made, milliseconds } = await response.json();
  for (const mask of made) {
    const bytes = Uint8Array.from(atob(mask.png), (letter) => letter.charCodeAt(0));
    const grey = await greyLevels(new Blob([bytes], { type: "image/png" }));
    masks.set(mask.granularity, { ...mask, grey });
  }
  if (urgent) element("latency").textContent = `${Math.round(performance.now() - began)} ms (model ${Math.round(milliseconds)} ms)`;
}

const shownMask = (object) => object.masks.get(shownGranularity(object));

// Drawing

function layer(object, number, view, opacity, isActive) {
  const mask = shownMask(object);
  if (!mask) return null;
  const colour = COLOURS[number % COLOURS.length];
  const shown = view === "probability" && !isActive ? "contour" : view;
  return layerOf(mask.grey, { colour, opacity, view: shown });
}

function drawMasks(context, scale) {
  for (const object of objects) if (object.layer) context.drawImage(object.layer, 0, 0);
  for (const [row, col, positive] of current()?.clicks ?? []) drawClick(context, scale, [row, col], positive);
}

function refresh() {
  const view = element("view").value;
  const opacity = Number(element("opacity").value);
  objects.forEach((object, number) => { object.layer = layer(object, number, view, opacity, number === active); });
  stage.redraw();
  const object = current();
  const mask = object && shownMask(object);
  element("hint").classList.toggle("hidden", !object || object.clicks.length > 0);
  element("undo").disabled = element("reset").disabled = !object?.clicks.length;
  for (const button of document.querySelectorAll(".export")) button.disabled = !mask;
  element("area").textContent = mask ? `${mask.area.toLocaleString("en")} px` : "–";
  element("iou").textContent = mask?.iou === undefined ? "–" : mask.iou.toFixed(3);
  if (object) {
    element("granularity").value = object.granularity;
    element("granularity-value").textContent = object.granularity.toFixed(1);
  }
  Object.assign(element("canvas").dataset, {
    clicks: object?.clicks.length ?? 0, masks: object?.masks.size ?? 0, area: mask?.area ?? "", granularity: object?.granularity ?? "",
  });
  listObjects();
  showThumbnails();
}

function listObjects() {
  const list = element("objects");
  if (list.children.length !== objects.length) {
    list.replaceChildren(...objects.map((object, number) => {
      const item = document.createElement("li");
      const button = document.createElement("button");
      const label = document.createElement("input");
      button.type = "button";
      button.textContent = `${number + 1}`;
      button.setAttribute("aria-label", `Object ${number + 1}`);
      button.addEventListener("click", () => choose(number));
      label.placeholder = "name";
      label.maxLength = 100;
      label.setAttribute("aria-label", `Name of object ${number + 1}`);
      label.value = object.label;
      label.addEventListener("input", () => { object.label = label.value; });
      item.append(button, label);
      return item;
    }));
  }
  [...list.children].forEach((item, number) => {
    const button = item.firstChild;
    button.setAttribute("aria-pressed", String(number === active));
    button.style.borderColor = `rgb(${COLOURS[number % COLOURS.length]})`;
  });
}

function choose(number) {
  active = number;
  refresh();
  const object = current();
  if (object.clicks.length && !shownMask(object)) load(object);
}

function showThumbnails() {
  const box = element("thumbnails");
  const shown = element("auto").getAttribute("aria-pressed") === "true" && facts.granularities.length > 0;
  box.classList.toggle("hidden", !shown);
  if (!shown || !image) return;
  const object = current();
  if (!box.children.length) {
    box.replaceChildren(...facts.granularities.map((each) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(document.createElement("canvas"), each.toFixed(1));
      button.setAttribute("aria-label", `Granularity ${each.toFixed(1)}`);
      button.addEventListener("click", () => setGranularity(each));
      return button;
    }));
  }
  [...box.children].forEach((button, number) => {
    const each = facts.granularities[number];
    const mask = object.masks.get(each);
    const canvas = button.firstChild;
    const scale = 160 / Math.max(image.width, image.height);
    canvas.width = Math.round(image.width * scale);
    canvas.height = Math.round(image.height * scale);
    button.setAttribute("aria-pressed", String(each === object.granularity));
    const context = canvas.getContext("2d");
    context.drawImage(stage.pixels, 0, 0, canvas.width, canvas.height);
    const drawn = mask && layer({ ...object, granularity: each }, active, "overlay", 0.6, true);
    if (drawn) context.drawImage(drawn, 0, 0, canvas.width, canvas.height);
  });
}

function setGranularity(value) {
  const object = current();
  if (!object) return;
  const chosen = facts.granularities.reduce((best, each) => (Math.abs(each - value) < Math.abs(best - value) ? each : best));
  object.granularity = chosen;
  refresh();
  if (object.clicks.length && !shownMask(object)) load(object);
}

function stepGranularity(step) {
  const place = facts.granularities.indexOf(current()?.granularity) + step;
  if (place >= 0 && place < facts.granularities.length) setGranularity(facts.granularities[place]);
}

// Files to keep

async function keep(kind) {
  const { key, name } = image;
  await attempt(async () => {
    const made = kind === "coco" ? objects.filter((object) => object.clicks.length) : [current()];
    const masks = made.map((object) => ({ clicks: object.clicks, granularity: shownGranularity(object), label: object.label }));
    const response = await post(`/api/images/${key}/export`, JSON.stringify({ kind, masks }));
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await response.blob());
    link.download = `${name.replace(/[^\w.-]+/g, "_")}-${kind}.${kind === "coco" ? "json" : "png"}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  }, () => true);
}

// Controls

function undo() {
  if (!current()?.clicks.length) return;
  current().clicks.pop();
  changed();
}

function reset() {
  if (!current()) return;
  current().clicks = [];
  changed();
}

function addObject() {
  if (!current()?.clicks.length) return;
  objects.push({ ...newObject(), granularity: current().granularity });
  choose(objects.length - 1);
}

function setSign(positive) {
  sign = positive;
  element("positive").setAttribute("aria-pressed", String(positive));
  element("negative").setAttribute("aria-pressed", String(!positive));
}

element("images").addEventListener("change", (event) => open({ name: event.target.value }));
element("upload").addEventListener("change", (event) => event.target.files[0] && upload(event.target.files[0]));
element("truth").addEventListener("change", (event) => attempt(async () => {
  const [file] = event.target.files;
  if (!file || !image) return;
  await post(`/api/images/${image.key}/truth`, file);
  changed();
}));
element("granularity").addEventListener("input", (event) => setGranularity(Number(event.target.value)));
element("auto").addEventListener("click", (event) => {
  event.target.setAttribute("aria-pressed", String(event.target.getAttribute("aria-pressed") !== "true"));
  refresh();
});
element("positive").addEventListener("click", () => setSign(true));
element("negative").addEventListener("click", () => setSign(false));
element("undo").addEventListener("click", undo);
element("reset").addEventListener("click", reset);
element("new-object").addEventListener("click", addObject);
element("view").addEventListener("change", refresh);
element("opacity").addEventListener("input", refresh);
element("fit").addEventListener("click", () => stage.fit());
for (const button of document.querySelectorAll(".export")) button.addEventListener("click", () => keep(button.dataset.kind));
document.addEventListener("keydown", (event) => {
  if (event.target.matches("input:not([type=range]), select") || event.ctrlKey || event.metaKey) return;
  const work = { u: undo, r: reset, n: addObject, g: () => stepGranularity(1), G: () => stepGranularity(-1) }[event.key];
  if (work) work();
});
document.addEventListener("paste", (event) => {
  const file = [...(event.clipboardData?.files ?? [])].find((each) => each.type.startsWith("image/"));
  if (file) upload(file);
});
const box = element("stage");
box.addEventListener("dragover", (event) => { event.preventDefault(); box.classList.add("dropping"); });
box.addEventListener("dragleave", () => box.classList.remove("dropping"));
box.addEventListener("drop", (event) => {
  event.preventDefault();
  box.classList.remove("dropping");
  if (event.dataTransfer.files[0]) upload(event.dataTransfer.files[0]);
});

await attempt(async () => {
  facts = await (await answer(await fetch("/api/facts"))).json();
  element("model").textContent = facts.model;
  element("granularity").disabled = element("auto").disabled = !facts.granularities.length;
  element("granularities").replaceChildren(...facts.granularities.map((each) => new Option(each.toFixed(1), each)));
  element("images").replaceChildren(...facts.images.map((name) => new Option(name, name)));
  if (facts.images.length) await open({ name: facts.images[0] });
});
