// The page of `agg view`: a grid of images, filters, and the masks of one image.
import { answer, attempt, say } from "/static/answers.js";
import { Flags } from "/static/flags.js";
import { Grid } from "/static/grid.js";
import { Pane } from "/static/pane.js";
import { NOTHING, linkOf, linkedState } from "/static/view_link.js";

const element = (id) => document.getElementById(id);

let databases = [];
let state = { database: 0, wanted: { ...NOTHING }, image: null, mask: null };
let place = null; // Of the image among those of the grid; null if it is not there, or not known yet.
let panes = [];
let used = 0; // Number of the database whose pane was used last; f flags there.
let flags = null;

const grid = new Grid(element("grid"), (id) => show(id));

function remember(replace = true) {
  if (replace) history.replaceState(null, "", linkOf(state));
  else history.pushState(null, "", linkOf(state));
}

// Take the state from the address; a line that says what of it cannot be used.
function recall() {
  const found = linkedState(location.hash, databases, [...element("sort").options].map((each) => each.value));
  state = found.state;
  return found.problem;
}

// Filters

function showFilters() {
  const facts = databases[state.database];
  const { wanted } = state;
  element("database").value = state.database;
  const options = (id, choices, chosen, fewest = 2) => {
    element(id).replaceChildren(...choices.map(([value, text]) => new Option(text, value)));
    element(id).value = chosen;
    element(`${id === "category" ? "class" : id}-card`).classList.toggle("hidden", choices.length < fewest);
  };
  const count = (number) => number.toLocaleString("en");
  options("category", [["", "all"], ...facts.categories.map(([name, masks]) => [name, `${name} (${count(masks)})`])], wanted.categories[0] ?? "", 3);
  options("source", [["", "all"], ...Object.entries(facts.sources).map(([number, masks]) => [number, `${facts.runs[number]} (${count(masks)})`])], wanted.source ?? "", 3);
  options("reason", [["", "any image"], ...Object.entries(facts.reasons).map(([reason, rows]) => [reason, `${reason} (${count(rows)})`])], wanted.reason);
  const kinds = Object.entries(facts.kinds).map(([kind, masks]) => {
    const label = document.createElement("label");
    const box = Object.assign(document.createElement("input"), { type: "checkbox", value: kind, checked: wanted.kinds.includes(kind) });
    const swatch = Object.assign(document.createElement("span"), { className: "key" });
    swatch.style.setProperty("--tint", `var(--${kind})`);
    box.addEventListener("change", () => change({ kinds: [...element("kinds").querySelectorAll("input:checked")].map((each) => each.value) }));
    label.append(box, swatch, `${kind} (${count(masks)})`);
    return label;
  });
  element("kinds").replaceChildren(element("kinds").firstElementChild, ...kinds);
  element("search").value = wanted.search;
  element("sort").value = wanted.sort;
  element("smallest").value = wanted.smallest || "";
  element("largest").value = wanted.largest === NOTHING.largest ? "" : wanted.largest;
  element("grey").classList.toggle("hidden", facts.has_photographs);
  showRange();
}

// Both sliders lie on one track.
function showRange() {
  const { low, high } = state.wanted;
  element("range").textContent = `${low.toFixed(2)} to ${high.toFixed(2)}`;
  for (const [id, value] of Object.entries({ low, high })) {
    element(id).value = value;
    element("double").style.setProperty(`--${id}`, value);
  }
  // Where both thumbs meet at the right end, only the lower one can move.
  element("low").style.zIndex = low > 0.5 ? 1 : 0;
}

function change(changes) {
  Object.assign(state.wanted, changes);
  showRange();
  remember();
  return refresh();
}

function showSpread(spread) {
  const { low, high } = state.wanted;
  const most = Math.max(1, ...spread);
  element("histogram").replaceChildren(...spread.map((masks, step) => {
    const bar = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    const height = (56 * masks) / most;
    for (const [name, value] of Object.entries({ x: 10 * step + 1, y: 60 - height, width: 8, height })) bar.setAttribute(name, value);
    if (step / 20 >= low - 1e-9 && (step + 1) / 20 <= high + 1e-9) bar.classList.add("in");
    return bar;
  }));
}

async function refresh() {
  place = null;
  await attempt(async () => {
    const first = await grid.find(state.database, state.wanted);
    if (first === null) return;
    element("summary").textContent = `${first.total.toLocaleString("en")} images, ${first.masks.toLocaleString("en")} masks`;
    showSpread(first.spread);
  });
}

// One image

async function show(id, mask = null, push = true) {
  Object.assign(state, { image: id, mask });
  place = null;
  remember(!push);
  element("browser").classList.add("hidden");
  element("detail").classList.remove("hidden");
  element("image-name").textContent = id;
  await attempt(async () => {
    const numbers = [state.database, ...databases.keys()].filter((number, nth, all) => all.indexOf(number) === nth);
    panes = numbers.map(newPane);
    element("panes").replaceChildren(...panes.map((pane) => pane.box));
    use(used);
    await Promise.all([findPlace(id), ...panes.map((pane) => pane.open(id, mask))]);
    paneInUse()?.canvas.focus();
  });
}

function newPane(number) {
  const { name } = databases[number];
  const pane = new Pane(number, name, {
    chosen: (mask) => { if (number === state.database) { state.mask = mask; remember(); } },
    flag: (mask) => flags.toggle(name, mask),
    isFlagged: (mask) => flags.has(name, mask),
  });
  for (const event of ["pointerdown", "focusin"]) pane.box.addEventListener(event, () => use(number));
  return pane;
}

function use(number) {
  used = number;
  for (const pane of panes) pane.box.classList.toggle("used", pane.database === used);
}

const paneInUse = () => panes.find((pane) => pane.database === used);

// Find the image's neighbours in the grid, also those that are not loaded.
async function findPlace(id) {
  const found = await grid.placeOf(id);
  if (state.image !== id) return;
  place = found;
  element("previous").disabled = place === null || place === 0;
  element("next").disabled = place === null || place + 1 >= grid.total;
}

async function back() {
  if (state.image === null) return;
  Object.assign(state, { image: null, mask: null });
  remember(false);
  await showGrid();
}

// The grid at the image that was shown.
async function showGrid() {
  element("detail").classList.add("hidden");
  element("browser").classList.remove("hidden");
  panes = [];
  grid.draw();
  if (place !== null) await attempt(() => grid.goTo(place));
}

async function neighbour(step) {
  const next = place + step;
  if (place === null || next < 0 || next >= grid.total) return;
  await attempt(async () => show((await grid.at(next)).id, null, false));
}

// Controls

for (const [id, name] of [["search", "search"], ["sort", "sort"], ["reason", "reason"]]) {
  element(id).addEventListener("input", (event) => change({ [name]: event.target.value }));
}
element("category").addEventListener("change", (event) => change({ categories: event.target.value ? [event.target.value] : [] }));
element("source").addEventListener("change", (event) => change({ source: event.target.value === "" ? null : Number(event.target.value) }));
element("low").addEventListener("input", () => change({ low: Math.min(Number(element("low").value), state.wanted.high) }));
element("high").addEventListener("input", () => change({ high: Math.max(Number(element("high").value), state.wanted.low) }));
element("smallest").addEventListener("input", (event) => change({ smallest: Math.max(0, Math.round(Number(event.target.value) || 0)) }));
element("largest").addEventListener("input", (event) => change({ largest: Math.round(Number(event.target.value)) || NOTHING.largest }));
element("clear").addEventListener("click", () => { state.wanted = { ...NOTHING }; showFilters(); change({}); });
element("database").addEventListener("change", (event) => {
  state.database = Number(event.target.value);
  state.wanted = { ...NOTHING };
  use(state.database);
  showFilters();
  change({}).then(() => { if (state.image !== null) show(state.image, null, false); });
});
element("copy").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText(location.href);
  } catch {
    // Browsers give pages the clipboard only over https or from this machine.
    element("by-hand").classList.remove("hidden");
    element("link").value = location.href;
    element("link").select();
    return;
  }
  element("copy").textContent = "Copied";
  setTimeout(() => { element("copy").textContent = "Copy link"; }, 2000);
});
element("link").addEventListener("blur", () => element("by-hand").classList.add("hidden"));
element("back").addEventListener("click", back);
element("previous").addEventListener("click", () => neighbour(-1));
element("next").addEventListener("click", () => neighbour(1));
document.addEventListener("keydown", (event) => {
  if (event.target.matches("input:not([type=range], [type=checkbox]), select") || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "/") {
    event.preventDefault();
    back().then(() => element("search").focus());
    return;
  }
  if (state.image === null) return gridKey(event);
  const onSlider = event.target.matches("input[type=range]");
  const all = (work) => () => panes.forEach(work);
  const work = {
    Escape: back, g: all((pane) => pane.step(1)), G: all((pane) => pane.step(-1)), f: () => paneInUse()?.toggleFlag(), c: all((pane) => pane.stepClicks()),
    ...(onSlider ? {} : { ArrowLeft: () => neighbour(-1), ArrowRight: () => neighbour(1), ArrowUp: all((pane) => pane.step(1)), ArrowDown: all((pane) => pane.step(-1)) }),
  }[event.key];
  if (work) {
    event.preventDefault();
    work();
  }
  return undefined;
});

function gridKey(event) {
  const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  if (step === undefined || event.target.matches("input")) return;
  event.preventDefault();
  attempt(() => grid.move(...step));
}

window.addEventListener("popstate", async () => {
  const before = state;
  const problem = recall();
  if (before.database !== state.database || JSON.stringify(before.wanted) !== JSON.stringify(state.wanted)) {
    showFilters();
    await refresh();
  }
  if (state.image === null) await showGrid();
  else await show(state.image, state.mask, false);
  if (problem) say(problem);
});

await attempt(async () => {
  ({ databases } = await (await answer(await fetch("/api/facts"))).json());
  if (matchMedia("(max-width: 860px)").matches) element("more").open = false;
  element("database").replaceChildren(...databases.map((each, number) => new Option(each.name, number)));
  flags = new Flags(databases.map((each) => each.name), element("flags"));
  const problem = recall();
  use(state.database);
  showFilters();
  await refresh();
  if (state.image !== null) await show(state.image, state.mask, false);
  if (problem) say(problem);
  document.body.dataset.ready = "true";
});
