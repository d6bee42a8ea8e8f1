// An image on a canvas that can be zoomed, moved and clicked on, with mouse, fingers or keys.

const HOLD = 500; // Milliseconds of a long press, which is a negative click.
const MOVED = 6; // A pointer that moves further, in CSS pixels, does not click.

export class Stage {
  // With `hasCross`, arrow keys move a cross, and Enter clicks there.
  constructor(canvas, { click, draw, hasCross = false }) {
    Object.assign(this, { canvas, click, draw, pixels: null, width: 0, height: 0, scale: 1, x: 0, y: 0, cross: null });
    this.pointers = new Map();
    this.context = canvas.getContext("2d");
    new ResizeObserver(() => this.fit()).observe(canvas);
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    canvas.addEventListener("pointerup", (event) => this.#up(event));
    canvas.addEventListener("pointercancel", (event) => this.pointers.delete(event.pointerId));
    canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    if (!hasCross) return;
    canvas.addEventListener("keydown", (event) => this.#key(event));
    canvas.addEventListener("blur", () => { this.cross = null; this.redraw(); });
  }

  show(pixels, width, height) {
    Object.assign(this, { pixels, width, height, cross: null });
    this.fit();
  }

  fit() {
    const { clientWidth, clientHeight } = this.canvas;
    const density = window.devicePixelRatio || 1;
    this.canvas.width = Math.round(clientWidth * density);
    this.canvas.height = Math.round(clientHeight * density);
    if (!this.pixels) return;
    this.scale = Math.min(this.canvas.width / this.width, this.canvas.height / this.height);
    this.x = (this.canvas.width - this.scale * this.width) / 2;
    this.y = (this.canvas.height - this.scale * this.height) / 2;
    this.redraw();
  }

  redraw() {
    const { context } = this;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    if (!this.pixels) return;
    context.setTransform(this.scale, 0, 0, this.scale, this.x, this.y);
    context.imageSmoothingEnabled = this.scale < 2;
    context.drawImage(this.pixels, 0, 0, this.width, this.height);
    this.draw(context, this.scale / (window.devicePixelRatio || 1));
    if (this.cross) {
      const [row, col] = this.cross;
      context.lineWidth = 1.5 / this.scale;
      context.strokeStyle = "#fff";
      context.setLineDash([4 / this.scale, 4 / this.scale]);
      context.strokeRect(0, row + 0.5, this.width, 0);
      context.strokeRect(col + 0.5, 0, 0, this.height);
      context.setLineDash([]);
    }
  }

  // Pixel of the image under a place of the page: [row, col], whole numbers, or null outside of the image.
  pixel(clientX, clientY) {
    const box = this.canvas.getBoundingClientRect();
    const density = this.canvas.width / box.width;
    const col = Math.floor(((clientX - box.left) * density - this.x) / this.scale);
    const row = Math.floor(((clientY - box.top) * density - this.y) / this.scale);
    return row >= 0 && col >= 0 && row < this.height && col < this.width ? [row, col] : null;
  }

  #down(event) {
    if (!this.pixels) return;
    this.canvas.setPointerCapture(event.pointerId);
    const start = { x: event.clientX, y: event.clientY, startX: event.clientX, startY: event.clientY, moved: event.shiftKey || event.button === 1, time: event.timeStamp };
    this.pointers.set(event.pointerId, start);
    if (this.pointers.size > 1) for (const pointer of this.pointers.values()) pointer.moved = true;
  }

  #move(event) {
    const pointer = this.pointers.get(event.pointerId);
    if (!pointer) return;
    if (Math.hypot(event.clientX - pointer.startX, event.clientY - pointer.startY) > MOVED) pointer.moved = true;
    const density = window.devicePixelRatio || 1;
    const others = [...this.pointers.entries()].filter(([id]) => id !== event.pointerId).map(([, other]) => other);
    if (others.length) {
      const [other] = others;
      const before = Math.hypot(pointer.x - other.x, pointer.y - other.y);
      const after = Math.hypot(event.clientX - other.x, event.clientY - other.y);
      if (before > 0) this.#zoom(after / before, (event.clientX + other.x) / 2, (event.clientY + other.y) / 2);
      this.x += ((event.clientX - pointer.x) * density) / 2;
      this.y += ((event.clientY - pointer.y) * density) / 2;
      this.redraw();
    } else if (event.shiftKey || event.buttons === 4) {
      this.x += (event.clientX - pointer.x) * density;
      this.y += (event.clientY - pointer.y) * density;
      this.redraw();
    }
    Object.assign(pointer, { x: event.clientX, y: event.clientY });
  }

  #up(event) {
    const pointer = this.pointers.get(event.pointerId);
    this.pointers.delete(event.pointerId);
    if (!pointer || pointer.moved) return;
    const place = this.pixel(event.clientX, event.clientY);
    const long = event.pointerType === "touch" && event.timeStamp - pointer.time > HOLD;
    if (place) this.click(place[0], place[1], !(event.button === 2 || event.altKey || long));
  }

  #wheel(event) {
    event.preventDefault();
    if (!this.pixels) return;
    this.#zoom(Math.exp(-event.deltaY / 400), event.clientX, event.clientY);
    this.redraw();
  }

  #zoom(factor, clientX, clientY) {
    const box = this.canvas.getBoundingClientRect();
    const density = this.canvas.width / box.width;
    const [x, y] = [(clientX - box.left) * density, (clientY - box.top) * density];
    const scale = Math.min(64, Math.max(0.05, this.scale * factor));
    this.x = x - ((x - this.x) * scale) / this.scale;
    this.y = y - ((y - this.y) * scale) / this.scale;
    this.scale = scale;
  }

  #key(event) {
    if (!this.pixels) return;
    const step = event.shiftKey ? 25 : 5;
    const moves = { ArrowUp: [-step, 0], ArrowDown: [step, 0], ArrowLeft: [0, -step], ArrowRight: [0, step] };
    if (event.key in moves) {
      event.preventDefault();
      const [row, col] = this.cross ?? [this.height >> 1, this.width >> 1];
      const [down, right] = moves[event.key];
      this.cross = [Math.min(this.height - 1, Math.max(0, row + down)), Math.min(this.width - 1, Math.max(0, col + right))];
      this.redraw();
    } else if (event.key === "Enter" && this.cross) {
      event.preventDefault();
      this.click(this.cross[0], this.cross[1], !(event.shiftKey || event.altKey));
    }
  }
}
