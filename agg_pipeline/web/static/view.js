// The page of `agg view`: a grid of images, filters, and the masks of one image.
import { Pane } from "/static/pane.js";

const PAGE = 60;
const TILE = { width: 210, height: 190, gap: 10 };
const element = (id) => document.getElementById(id);
const NOTHING = {
  kinds: [], low: 0, high: 1, smallest: 0, largest: 2 ** 53, categories: [], search: "", source: null, reason: "", sort: "plan",
};

let databases = [];
let state = { database: 0, wanted: { ...NOTHING }, image: null, mask: null };
let found = { total: 0, masks: 0, pages: new Map() };
let requests = 0;
let panes = [];

async function answer(path, options) {
  const response = await fetch(path, options);
  if (response.ok) return response.json();
  let problem = `the server answered ${response.status}`;
  try { problem = (await response.json()).error ?? problem; } catch { /* no JSON */ }
  throw new Error(problem);
}

async function attempt(work) {
  try {
    element("message").classList.add("hidden");
    return await work();
  } catch (error) {
    element("message").textContent = error.message;
    element("message").classList.remove("hidden");
    return null;
  }
}

// The address of the page is the state, so that a link leads to exactly this view.

function remember(replace = true) {
  const wanted = Object.fromEntries(Object.entries(state.wanted).filter(([key, value]) => JSON.stringify(value) !== JSON.stringify(NOTHING[key])));
  const hash = `#${encodeURIComponent(JSON.stringify({ ...state, wanted }))}`;
  if (replace) history.replaceState(null, "", hash);
  else history.pushState(null, "", hash);
}

function recall() {
  try {
    const given = JSON.parse(decodeURIComponent(location.hash.slice(1)) || "{}");
    const database = Number.isInteger(given.database) && given.database < databases.length ? given.database : 0;
    state = { database, wanted: { ...NOTHING, ...given.wanted }, image: given.image ?? null, mask: given.mask ?? null };
  } catch {
    state = { database: 0, wanted: { ...NOTHING }, image: null, mask: null };
  }
}

// Flags are kept in this browser, by database.

const flagKey = (number) => `agg-flags:${databases[number].name}`;
const flagsOf = (number) => new Set(JSON.parse(localStorage.getItem(flagKey(number)) ?? "[]"));

function flag(number, mask) {
  const flags = flagsOf(number);
  if (!flags.delete(mask)) flags.add(mask);
  localStorage.setItem(flagKey(number), JSON.stringify([...flags]));
  showFlags();
}

function showFlags() {
  const count = flagsOf(state.database).size;
  element("flags").textContent = `Export flags (${count})`;
  element("flags").disabled = count === 0;
}

function exportFlags() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([[...flagsOf(state.database)].sort().map((each) => `${each}\n`).join("")], { type: "text/plain" }));
  link.download = "flagged-masks.txt";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
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
  element("low").value = wanted.low;
  element("high").value = wanted.high;
  element("search").value = wanted.search;
  element("sort").value = wanted.sort;
  element("smallest").value = wanted.smallest || "";
  element("largest").value = wanted.largest === NOTHING.largest ? "" : wanted.largest;
  showFlags();
}

function change(changes) {
  Object.assign(state.wanted, changes);
  remember();
  refresh();
}

function showSpread(spread) {
  const { low, high } = state.wanted;
  element("range").textContent = `${low.toFixed(2)} to ${high.toFixed(2)}`;
  const most = Math.max(1, ...spread);
  element("histogram").replaceChildren(...spread.map((masks, step) => {
    const bar = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    const height = (56 * masks) / most;
    for (const [name, value] of Object.entries({ x: 10 * step + 1, y: 60 - height, width: 8, height })) bar.setAttribute(name, value);
    if (step / 20 >= low - 1e-9 && (step + 1) / 20 <= high + 1e-9) bar.classList.add("in");
    return bar;
  }));
}

// The grid draws the tiles that are seen, and asks for the images of these.

async function refresh() {
  const number = ++requests;
  found = { total: 0, masks: 0, pages: new Map() };
  await attempt(async () => {
    const first = await load(0);
    if (number !== requests) return;
    element("summary").textContent = `${first.total.toLocaleString("en")} images, ${first.masks.toLocaleString("en")} masks`;
    element("grid").dataset.total = first.total;
    showSpread(first.spread);
    element("grid").scrollTop = 0;
    drawGrid();
  });
}

async function load(page) {
  const asked = found;
  const body = JSON.stringify({ ...state.wanted, offset: page * PAGE, limit: PAGE });
  const loaded = await answer(`/api/${state.database}/images`, { method: "POST", body });
  if (asked === found) {
    Object.assign(found, { total: loaded.total, masks: loaded.masks });
    found.pages.set(page, loaded.images);
  }
  return loaded;
}

function drawGrid() {
  const grid = element("grid");
  const inner = element("grid-inner");
  const columns = Math.max(1, Math.floor((grid.clientWidth + TILE.gap) / (TILE.width + TILE.gap)));
  const width = (grid.clientWidth - (columns - 1) * TILE.gap) / columns;
  const step = TILE.height + TILE.gap;
  inner.style.height = `${Math.ceil(found.total / columns) * step}px`;
  const first = Math.max(0, Math.floor(grid.scrollTop / step) - 1) * columns;
  const last = Math.min(found.total, (Math.ceil((grid.scrollTop + grid.clientHeight) / step) + 1) * columns);
  const tiles = new Map([...inner.children].map((tile) => [tile.dataset.key, tile]));
  const wanted = [];
  for (let place = first; place < last; place += 1) {
    const page = Math.floor(place / PAGE);
    const images = found.pages.get(page);
    if (!images) {
      if (images === undefined) {
        found.pages.set(page, null);
        attempt(() => load(page).then(drawGrid));
      }
      continue;
    }
    const image = images[place % PAGE];
    if (!image) continue;
    const key = `${state.database}:${image.id}`;
    const tile = tiles.get(key) ?? newTile(image, key);
    tile.lastChild.textContent = `${image.id} · ${image.masks}`;
    Object.assign(tile.style, {
      left: `${(place % columns) * (width + TILE.gap)}px`, top: `${Math.floor(place / columns) * step}px`, width: `${width}px`, height: `${TILE.height}px`,
    });
    wanted.push(tile);
  }
  const focused = document.activeElement;
  inner.replaceChildren(...wanted);
  if (wanted.includes(focused)) focused.focus({ preventScroll: true });
}

function newTile(image, key) {
  const tile = Object.assign(document.createElement("button"), { type: "button", className: "tile" });
  tile.dataset.key = key;
  tile.dataset.image = image.id;
  const picture = Object.assign(document.createElement("img"), { alt: "" });
  if (image.height) picture.src = `/api/${state.database}/tile?id=${encodeURIComponent(image.id)}`;
  tile.append(picture, document.createElement("span"));
  tile.addEventListener("click", () => show(image.id));
  return tile;
}

// One image

async function show(id, mask = null, push = true) {
  Object.assign(state, { image: id, mask });
  remember(!push);
  element("browser").classList.add("hidden");
  element("detail").classList.remove("hidden");
  element("image-name").textContent = id;
  await attempt(async () => {
    const numbers = [state.database, ...databases.keys()].filter((number, place, all) => all.indexOf(number) === place);
    const shown = numbers.map((number) => new Pane(number, databases[number].name, {
      chosen: (name) => { if (number === state.database) { state.mask = name; remember(); } },
      flag: (name) => flag(number, name),
      isFlagged: (name) => flagsOf(number).has(name),
    }));
    element("panes").replaceChildren(...shown.map((pane) => pane.box));
    panes = shown;
    await Promise.all(shown.map((pane) => pane.open(id, mask)));
    panes[0].canvas.focus();
  });
}

function back() {
  if (state.image === null) return;
  const before = state.image;
  Object.assign(state, { image: null, mask: null });
  remember(false);
  element("detail").classList.add("hidden");
  element("browser").classList.remove("hidden");
  panes = [];
  drawGrid();
  [...element("grid-inner").children].find((tile) => tile.dataset.image === before)?.focus();
}

async function neighbour(step) {
  await attempt(async () => {
    for (const [page, images] of [...found.pages]) {
      const place = (images ?? []).findIndex((image) => image.id === state.image);
      if (place < 0) continue;
      const next = page * PAGE + place + step;
      if (next < 0 || next >= found.total) return;
      const there = Math.floor(next / PAGE);
      if (!found.pages.get(there)) await load(there);
      await show(found.pages.get(there)[next % PAGE].id, null, false);
      return;
    }
  });
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
  showFilters();
  change({});
});
element("flags").addEventListener("click", exportFlags);
element("copy").addEventListener("click", () => attempt(async () => {
  await navigator.clipboard.writeText(location.href);
  element("copy").textContent = "Copied";
  setTimeout(() => { element("copy").textContent = "Copy link"; }, 2000);
}));
element("back").addEventListener("click", back);
element("previous").addEventListener("click", () => neighbour(-1));
element("next").addEventListener("click", () => neighbour(1));
element("grid").addEventListener("scroll", drawGrid);
new ResizeObserver(() => { if (state.image === null) drawGrid(); }).observe(element("grid"));
document.addEventListener("keydown", (event) => {
  if (event.target.matches("input:not([type=range], [type=checkbox]), select") || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "/") {
    event.preventDefault();
    back();
    element("search").focus();
    return;
  }
  if (state.image === null) return gridKey(event);
  const onSlider = event.target.matches("input[type=range]");
  const all = (work) => () => panes.forEach(work);
  const work = {
    Escape: back, g: all((pane) => pane.step(1)), G: all((pane) => pane.step(-1)), f: () => panes[0]?.toggleFlag(), c: all((pane) => pane.stepClicks()),
    ...(onSlider ? {} : { ArrowLeft: () => neighbour(-1), ArrowRight: () => neighbour(1), ArrowUp: all((pane) => pane.step(1)), ArrowDown: all((pane) => pane.step(-1)) }),
  }[event.key];
  if (work) {
    event.preventDefault();
    work();
  }
  return undefined;
});

function gridKey(event) {
  const tiles = [...element("grid-inner").children];
  const place = tiles.indexOf(document.activeElement);
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (step === undefined || event.target.matches("input")) return;
  event.preventDefault();
  (tiles[place + step] ?? tiles[Math.max(0, place)])?.focus();
}

window.addEventListener("popstate", () => {
  const before = state;
  recall();
  if (before.database !== state.database || JSON.stringify(before.wanted) !== JSON.stringify(state.wanted)) {
    showFilters();
    refresh();
  }
  if (state.image !== null) show(state.image, state.mask, false);
  else {
    element("detail").classList.add("hidden");
    element("browser").classList.remove("hidden");
    panes = [];
    drawGrid();
  }
});

await attempt(async () => {
  ({ databases } = await answer("/api/facts"));
  if (matchMedia("(max-width: 860px)").matches) element("more").open = false;
  element("database").replaceChildren(...databases.map((each, number) => new Option(each.name, number)));
  recall();
  showFilters();
  await refresh();
  if (state.image !== null) await show(state.image, state.mask, false);
  document.body.dataset.ready = "true";
});
