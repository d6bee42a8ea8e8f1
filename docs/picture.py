"""The README's picture: one photograph, one click, granularity 0.1 to 1.0.

``.venv-dev/bin/python docs/picture.py``; ``make setup-dev`` makes this environment, which has scikit-image.
"""

from __future__ import annotations

from pathlib import Path

import click
import cv2
import numpy as np
import skimage.data
from numpy.typing import NDArray
from PIL import Image

from agg_pipeline import load_model
from schemas.numbers import GRANULARITIES

WIDTH = 176
"""Of each photograph in the picture, pixels."""
TINT, CLICK = (47, 140, 255), (0, 170, 60)
GAP = 6


def cell(image: NDArray[np.uint8], mask: NDArray[np.bool_], place: tuple[int, int], text: str) -> NDArray[np.uint8]:
    """The photograph with the mask as a tint with an outline, the click as a dot, and a line below."""
    drawn = image.copy()
    drawn[mask] = (0.5 * image[mask] + 0.5 * np.array(TINT)).astype(np.uint8)
    contours, _ = cv2.findContours(mask.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(drawn, contours, -1, (255, 255, 255), max(1, image.shape[1] // 200), cv2.LINE_AA)
    cv2.circle(drawn, place[::-1], image.shape[1] // 40, CLICK, -1, cv2.LINE_AA)
    height = round(WIDTH * image.shape[0] / image.shape[1])
    drawn = cv2.resize(drawn, (WIDTH, height), interpolation=cv2.INTER_AREA)
    label = np.full((24, WIDTH, 3), 255, np.uint8)
    cv2.putText(label, text, (4, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (60, 60, 60), 1, cv2.LINE_AA)
    whole = np.vstack([drawn, label])
    return np.asarray(cv2.copyMakeBorder(whole, 0, 0, 0, GAP, cv2.BORDER_CONSTANT, value=(255, 255, 255)), np.uint8)


@click.command()
@click.option("--photograph", default="astronaut", show_default=True, help="Of skimage.data.")
@click.option("--place", nargs=2, type=int, default=(400, 220), show_default=True, help="Row and column of the click.")
@click.option("--checkpoint", help="Click model. Default: the one that is built in.")
@click.option("--adapter", help="GraCo adapter of it. Default: the one of the built-in model.")
@click.option("--out", default="docs/granularity.jpg", show_default=True, type=click.Path(path_type=Path))
def main(photograph: str, place: tuple[int, int], checkpoint: str | None, adapter: str | None, out: Path) -> None:
    """Draw what the model finds after one click at each granularity, in two rows."""
    image = np.ascontiguousarray(getattr(skimage.data, photograph)()[..., :3])
    session = load_model(checkpoint, adapter, flip=True).open(image)
    cells = []
    for granularity in GRANULARITIES:
        mask = session.predict([(*place, True)], granularity) > 0.5
        cells.append(cell(image, mask, place, f"granularity {granularity:.1f}"))
    half = len(cells) // 2
    picture = np.vstack([np.hstack(cells[:half]), np.hstack(cells[half:])])
    Image.fromarray(picture).save(out, quality=88)


if __name__ == "__main__":
    main()
