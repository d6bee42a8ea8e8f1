// Masks as coloured layers over an image.

export const MIDDLE = 127; // Grey level of probability 0.5 in the server's pictures; a pixel above it is in the mask.

// Grey levels of a picture, row by row, and its size.
export async function greyLevels(blob) {
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none" });
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  const { data } = context.getImageData(0, 0, bitmap.width, bitmap.height);
  const levels = Uint8Array.from({ length: bitmap.width * bitmap.height }, (_, place) => data[4 * place]);
  return { levels, width: bitmap.width, height: bitmap.height };
}

// A canvas with the pixels above `middle` in a colour, their edge opaque; `view` is overlay, contour or probability.
export function layerOf({ levels: grey, width, height }, { middle = MIDDLE, colour, opacity, view }) {
  const pixels = new ImageData(width, height);
  const [red, green, blue] = colour;
  const inside = (place) => grey[place] > middle;
  for (let place = 0; place < grey.length; place += 1) {
    let alpha = 0;
    if (view === "probability") alpha = grey[place] * opacity;
    else if (inside(place)) {
      const col = place % width;
      const edge = col === 0 || col === width - 1 || place < width || place >= width * (height - 1)
        || !inside(place - 1) || !inside(place + 1) || !inside(place - width) || !inside(place + width);
      if (edge) alpha = 255;
      else if (view === "overlay") alpha = 255 * opacity;
    }
    if (alpha) pixels.data.set([red, green, blue, alpha], 4 * place);
  }
  const canvas = new OffscreenCanvas(width, height);
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  return canvas;
}

// A click as a disk with a plus or a minus, or with a text.
export function drawClick(context, scale, [row, col], positive, { colour, text } = {}) {
  const style = getComputedStyle(document.documentElement);
  const [x, y] = [col + 0.5, row + 0.5];
  context.beginPath();
  context.arc(x, y, (text ? 9 : 6) / scale, 0, 2 * Math.PI);
  context.fillStyle = colour ?? style.getPropertyValue(positive ? "--positive" : "--negative");
  context.fill();
  context.lineWidth = 2 / scale;
  context.strokeStyle = "#fff";
  context.stroke();
  if (text) {
    context.fillStyle = "#fff";
    context.font = `${11 / scale}px system-ui, sans-serif`;
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.fillText(text, x, y);
    return;
  }
  context.beginPath();
  context.moveTo(x - 3 / scale, y);
  context.lineTo(x + 3 / scale, y);
  if (positive) {
    context.moveTo(x, y - 3 / scale);
    context.lineTo(x, y + 3 / scale);
  }
  context.stroke();
}
