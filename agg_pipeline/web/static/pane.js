// The masks of one image in one database: photograph, slider, clicks and numbers.
import { answer } from "/static/answers.js";
import { MIDDLE, drawClick, greyLevels, layerOf } from "/static/overlay.js";
import { Stage } from "/static/stage.js";

const SVG = "http://www.w3.org/2000/svg";
const number = (value, digits = 3) => (value === null || value === undefined ? "–" : value.toFixed(digits));

function rgb(name) {
  const probe = document.createElement("span");
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const colour = getComputedStyle(probe).color.match(/\d+/g).slice(0, 3).map(Number);
  probe.remove();
  return colour;
}

export class Pane {
  constructor(database, title, { chosen, flag, isFlagged }) {
    Object.assign(this, { database, chosen, flag, isFlagged, rows: [], shown: [], place: 0, seen: null, layer: null, outline: null, masks: new Map() });
    this.box = document.getElementById("pane").content.firstElementChild.cloneNode(true);
    this.canvas = this.box.querySelector("canvas");
    this.find(".title").textContent = title;
    this.stage = new Stage(this.canvas, { click: () => {}, draw: (context, scale) => this.#draw(context, scale) });
    this.find(".slider").addEventListener("input", (event) => this.choose(Number(event.target.value)));
    this.find(".object").addEventListener("change", () => this.#list());
    this.find(".flag").addEventListener("click", () => this.toggleFlag());
    this.find(".step").addEventListener("click", () => this.stepClicks());
  }

  find(selector) {
    return this.box.querySelector(selector);
  }

  get row() {
    return this.shown[this.place];
  }

  async open(id, mask) {
    this.id = id;
    let found = null;
    try {
      found = await (await answer(await fetch(`/api/${this.database}/image?id=${encodeURIComponent(id)}`))).json();
    } catch (error) {
      this.box.replaceChildren(this.find(".title"), Object.assign(document.createElement("p"), { className: "message", textContent: error.message }));
      return;
    }
    this.#rejects(found.rejects);
    if (!found.image) {
      this.find(".stage").classList.add("hidden");
      return;
    }
    this.image = found.image;
    this.rows = found.masks;
    this.find(".missing").classList.toggle("hidden", found.has_photograph);
    const pixels = new Image();
    pixels.src = `/api/${this.database}/photograph?id=${encodeURIComponent(id)}`;
    await pixels.decode();
    this.stage.show(pixels, found.image.width, found.image.height);
    const objects = this.rows.filter((row) => row.kind === "object");
    this.find(".object").replaceChildren(
      new Option(`all (${objects.length})`, ""),
      ...objects.map((row) => new Option(`${row.instance_id}${row.category ? ` · ${row.category}` : ""}`, row.instance_id)),
    );
    this.#list(mask);
  }

  #list(mask = null) {
    const object = this.find(".object").value;
    this.shown = this.rows.filter((row) => object === "" || String(row.instance_id) === object);
    this.find(".slider").max = Math.max(0, this.shown.length - 1);
    const place = this.shown.findIndex((row) => row.proposal_id === mask);
    this.choose(place >= 0 ? place : this.shown.length - 1);
  }

  step(by) {
    this.choose(this.place + by);
  }

  async choose(place) {
    if (!this.shown.length) return;
    this.place = Math.min(this.shown.length - 1, Math.max(0, place));
    this.seen = null;
    const { row } = this;
    this.find(".slider").value = this.place;
    this.#describe();
    this.chosen(row.proposal_id);
    const mask = await this.#levels(row.proposal_id);
    const object = row.kind === "object" ? null : this.rows.find((each) => each.kind === "object" && each.instance_id === row.instance_id);
    const outline = object && (await this.#levels(object.proposal_id));
    if (row !== this.row) return;
    this.layer = layerOf(mask, { opacity: 0.5, colour: rgb(row.kind), view: "overlay" });
    this.outline = outline && layerOf(outline, { colour: [255, 255, 255], view: "contour" });
    this.canvas.dataset.mask = row.proposal_id;
    this.canvas.dataset.pixels = mask.levels.reduce((sum, level) => sum + (level > MIDDLE), 0);
    this.stage.redraw();
  }

  async #levels(name) {
    if (!this.masks.has(name)) {
      const query = new URLSearchParams({ id: this.id, mask: name });
      const response = await answer(await fetch(`/api/${this.database}/mask?${query}`));
      this.masks.set(name, await greyLevels(await response.blob()));
    }
    return this.masks.get(name);
  }

  stepClicks() {
    const count = this.row?.clicks?.length ?? 0;
    if (!count) return;
    this.seen = this.seen === null || this.seen >= count ? 1 : this.seen + 1;
    this.#describe();
    this.stage.redraw();
  }

  toggleFlag() {
    if (!this.row) return;
    this.flag(this.row.proposal_id);
    this.#describe();
  }

  #draw(context, scale) {
    // Masks of a large image come smaller than it is.
    for (const layer of [this.outline, this.layer]) if (layer) context.drawImage(layer, 0, 0, this.image.width, this.image.height);
    const { row } = this;
    (row?.clicks ?? []).slice(0, this.seen ?? undefined).forEach((click, place) => {
      drawClick(context, scale, [click.row, click.col], click.positive, { text: `${place + 1}` });
    });
    if (row?.click) drawClick(context, scale, [row.click.row, row.click.col], true, { colour: "#1d1e20", text: "e" });
  }

  #describe() {
    const { row } = this;
    const clicks = row.clicks?.length ?? 0;
    const facts = {
      Granularity: number(row.granularity), "In tenths": number(row.bin / 10, 1), Scale: number(row.scale), Semantic: number(row.semantic), Kind: row.kind,
      Class: row.category ?? "–", Label: row.label ?? "–", Object: row.instance_id, Area: `${row.area.toLocaleString("en")} px`, Step: row.step ?? "–", Mask: row.proposal_id,
    };
    this.find("dl").replaceChildren(...Object.entries(facts).flatMap(([name, value]) => [
      Object.assign(document.createElement("dt"), { textContent: name }), Object.assign(document.createElement("dd"), { textContent: value }),
    ]));
    this.find(".slider").setAttribute("aria-valuetext", `granularity ${number(row.granularity)}, ${row.kind}`);
    this.canvas.setAttribute("aria-label", `Image ${this.id} with a mask: ${row.kind} of granularity ${number(row.granularity)}`);
    this.find(".step").disabled = !clicks;
    this.find(".clicks").textContent = clicks ? `clicks ${this.seen ?? clicks} of ${clicks}${row.click ? "; e: the estimator's" : ""}` : "";
    this.find(".with-object").classList.toggle("hidden", row.kind !== "object");
    this.find(".flag").setAttribute("aria-pressed", String(this.isFlagged(row.proposal_id)));
    this.#scatter();
  }

  #scatter() {
    const make = (name, attributes, text) => {
      const made = document.createElementNS(SVG, name);
      for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
      if (text) made.textContent = text;
      return made;
    };
    const at = (row) => [26 + 156 * row.scale, 164 - 156 * row.semantic];
    const points = this.shown.map((row, place) => {
      const [cx, cy] = at(row);
      const point = make("circle", { cx, cy, r: place === this.place ? 6 : 4, class: `kind-${row.kind}${place === this.place ? " now" : ""}` });
      point.addEventListener("click", () => this.choose(place));
      return [place === this.place, point];
    });
    points.sort(([one], [other]) => one - other);
    this.find(".scatter").replaceChildren(
      make("line", { x1: 26, y1: 164, x2: 186, y2: 164 }), make("line", { x1: 26, y1: 164, x2: 26, y2: 4 }),
      make("text", { x: 90, y: 182 }, "scale 0 to 1"), make("text", { x: 12, y: 120, transform: "rotate(-90 12 120)" }, "semantic 0 to 1"),
      ...points.map(([, point]) => point),
    );
  }

  #rejects(rejects) {
    const box = this.find(".rejects");
    box.classList.toggle("hidden", !rejects.length);
    box.querySelector("summary").textContent = `${rejects.length} dropped`;
    box.querySelector("ul").replaceChildren(...rejects.map((reject) => Object.assign(document.createElement("li"), {
      textContent: [reject.reason, reject.instance_id === null ? "image" : `object ${reject.instance_id}`, reject.step === null ? "" : `step ${reject.step}`, reject.detail ?? ""].filter(Boolean).join(" · "),
    })));
  }
}
