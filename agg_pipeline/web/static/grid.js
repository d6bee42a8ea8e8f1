// The grid of images: it draws the tiles that are seen, and asks for the images of these.
import { answer, say } from "/static/answers.js";
import { chosen } from "/static/view_link.js";

const PAGE = 60;
const TILE = { width: 210, height: 190, gap: 10 };
const STEP = TILE.height + TILE.gap;
const TALLEST = 15_000_000; // Pixels of an element; Firefox draws no more than 17 million.

export class Grid {
  // `open` gets the id of an image that was chosen.
  constructor(box, open) {
    Object.assign(this, { box, inner: box.firstElementChild, open, found: { total: 0, pages: new Map() } });
    box.addEventListener("scroll", () => this.draw());
    new ResizeObserver(() => this.draw()).observe(box);
  }

  get total() {
    return this.found.total;
  }

  // Show the images that a filter finds; the server's answer, or null if others are wanted meanwhile.
  async find(database, wanted) {
    const { search, sort, reason, ...ofMasks } = chosen(wanted);
    const found = { database, wanted: JSON.stringify(wanted), ofMasks: JSON.stringify(ofMasks), total: 0, pages: new Map() };
    this.found = found;
    const first = await this.#load(0);
    if (found !== this.found) return null;
    this.box.dataset.total = found.total;
    this.box.scrollTop = 0;
    this.draw();
    return first;
  }

  // The image at a place.
  async at(place) {
    const page = Math.floor(place / PAGE);
    if (!this.found.pages.get(page)) await this.#load(page);
    return this.found.pages.get(page)[place % PAGE];
  }

  // The place of an image; null if it is not among those that were found.
  async placeOf(id) {
    for (const [page, images] of this.found.pages) {
      const place = (images ?? []).findIndex((image) => image.id === id);
      if (place >= 0) return page * PAGE + place;
    }
    return (await this.#ask(this.found, `place?${new URLSearchParams({ id })}`, this.found.wanted)).place;
  }

  // Scroll to the tile at a place, if it is not seen, and focus it.
  async goTo(place) {
    await this.at(place);
    this.draw(); // Gives the grid its height, if it was hidden.
    const { columns, pace } = this.#layout();
    const top = Math.floor(place / columns) * STEP;
    const seen = this.box.scrollTop * pace;
    const lowest = top + TILE.height - this.box.clientHeight;
    if (seen < lowest || seen > top) this.box.scrollTop = Math.min(top, Math.max(seen, lowest)) / pace;
    this.draw();
    this.box.scrollIntoView({ block: "nearest" });
    this.inner.querySelector(`[data-place="${place}"]`)?.focus({ preventScroll: true });
  }

  // Move the focus by some columns or rows; to the first tile that is drawn if none has it.
  async move(columns, rows) {
    const { focused } = this;
    if (!focused) {
      this.inner.firstElementChild?.focus();
      return;
    }
    const place = Number(focused.dataset.place) + columns + rows * this.#layout().columns;
    if (place >= 0 && place < this.total) await this.goTo(place);
  }

  get focused() {
    return this.inner.contains(document.activeElement) ? document.activeElement : null;
  }

  draw() {
    const { columns, width, height, pace } = this.#layout();
    this.inner.style.height = `${height}px`;
    const top = this.box.scrollTop * pace;
    const shift = this.box.scrollTop - top;
    const first = Math.max(0, Math.floor(top / STEP) - 1) * columns;
    const last = Math.min(this.total, (Math.ceil((top + this.box.clientHeight) / STEP) + 1) * columns);
    const drawn = new Map([...this.inner.children].map((tile) => [tile.dataset.key, tile]));
    const tiles = [];
    for (let place = first; place < last; place += 1) {
      const image = this.#loaded(place);
      if (!image) continue;
      const key = `${this.found.database}:${image.id}`;
      const tile = drawn.get(key) ?? this.#tile(key, image);
      this.#fill(tile, image, place);
      Object.assign(tile.style, {
        left: `${(place % columns) * (width + TILE.gap)}px`, top: `${Math.floor(place / columns) * STEP + shift}px`, width: `${width}px`, height: `${TILE.height}px`,
      });
      tiles.push(tile);
    }
    const { focused } = this;
    this.inner.replaceChildren(...tiles);
    if (tiles.includes(focused)) focused.focus({ preventScroll: true });
  }

  // Columns, their width, the height of the grid, and how many pixels of images pass for a pixel of the scroll bar.
  #layout() {
    const { clientWidth, clientHeight } = this.box;
    const columns = Math.max(1, Math.floor((clientWidth + TILE.gap) / (TILE.width + TILE.gap)));
    const whole = Math.ceil(this.total / columns) * STEP;
    const height = Math.min(whole, TALLEST);
    return {
      columns, height, width: (clientWidth - (columns - 1) * TILE.gap) / columns, pace: whole > height ? (whole - clientHeight) / (height - clientHeight) : 1,
    };
  }

  // The image at a place, if it is here; else it is asked for.
  #loaded(place) {
    const { found } = this;
    const page = Math.floor(place / PAGE);
    const images = found.pages.get(page);
    if (images === undefined) {
      found.pages.set(page, null);
      this.#load(page).then(() => this.draw(), (error) => {
        found.pages.delete(page);
        say(error.message);
      });
    }
    return images?.[place % PAGE];
  }

  async #load(page) {
    const { found } = this;
    const loaded = await this.#ask(found, "images", JSON.stringify({ ...JSON.parse(found.wanted), offset: page * PAGE, limit: PAGE }));
    found.total = loaded.total;
    found.pages.set(page, loaded.images);
    return loaded;
  }

  async #ask({ database }, path, body) {
    return (await answer(await fetch(`/api/${database}/${path}`, { method: "POST", body }))).json();
  }

  #tile(key, image) {
    const tile = Object.assign(document.createElement("button"), { type: "button", className: "tile" });
    Object.assign(tile.dataset, { key, image: image.id });
    tile.append(Object.assign(document.createElement("img"), { alt: "" }), document.createElement("span"));
    tile.addEventListener("click", () => this.open(image.id));
    return tile;
  }

  #fill(tile, image, place) {
    tile.dataset.place = place;
    tile.lastChild.textContent = `${image.id} · ${image.masks}`;
    const source = `/api/${this.found.database}/tile?${new URLSearchParams({ id: image.id, wanted: this.found.ofMasks })}`;
    // An image that fell out has no size and no picture.
    if (image.height && tile.firstChild.getAttribute("src") !== source) tile.firstChild.src = source;
  }
}
