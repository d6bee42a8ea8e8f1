"""Scenes of the demo data set: objects placed on a background, with exact masks of everything visible."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from agg_pipeline.demo import animals, figures, plants, quadrupeds, trucks, vehicles
from agg_pipeline.demo.background import paint_background
from agg_pipeline.demo.camera import photograph
from agg_pipeline.demo.drawing import Drawing, chance, mixed, pick
from agg_pipeline.demo.geometry import Frame
from agg_pipeline.demo.shading import Canvas, Colour, Light, cast_shadow, paint
from schemas.crop import area, crop_mask
from schemas.records import ObjectMask, PartMask

SIZES = ((375, 500), (500, 375), (400, 400), (360, 480), (333, 500), (480, 360), (428, 500))
"""(height, width) of images, pixels; all have the same probability."""
SPECIES: tuple[tuple[Callable[[np.random.Generator, bool], Drawing], ...], ...] = (
    (quadrupeds.quadruped, quadrupeds.quadruped, animals.sitting, animals.bird),
    (vehicles.car, vehicles.bus, trucks.truck),
    (plants.flowers, plants.foliage, plants.tree),
    (figures.figure,),
)
"""What is drawn, by category: first a category is chosen, then one of its drawings."""
COUNTS = (1, 2, 2, 3, 3, 3, 4, 4, 5)
"""Objects per image; all entries have the same probability."""
MIN_PART = 12
"""Smaller parts, in visible pixels, are not annotated."""
MIN_OBJECT = 600
"""Smaller objects, in visible pixels, are not annotated."""
MIN_VISIBLE = 0.03
"""Objects of which a smaller share is visible are not annotated."""


@dataclass(frozen=True, eq=False, slots=True)
class Scene:
    """A generated image with its objects.

    Attributes:
        pixels: (H, W, 3) uint8 RGB.
        objects: the visible objects and their parts.
    """

    pixels: NDArray[np.uint8]
    objects: tuple[ObjectMask, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Placed:
    drawing: Drawing
    first_label: int
    outline: int  # pixels of the object before others hide it


def render(seed: int, index: int) -> Scene:
    """Draw a scene; the arrays are the same in every process.

    Args:
        seed: seed of the set.
        index: number of the scene.

    Returns:
        The scene; its masks hold visible pixels only.
    """
    rng = _generator(seed, index)
    height, width = pick(rng, SIZES)
    canvas = Canvas(np.zeros((3, height, width), np.float32), np.zeros((height, width), np.int16))
    light = _light(rng)
    horizon = int(height * rng.uniform(0.38, 0.62))
    ground = paint_background(canvas, rng, light, horizon)
    placed: list[_Placed] = []
    label = 1
    for drawing, frame in _arrangement(rng, height, width, horizon):
        camouflaged = _towards(drawing, ground, 0.45) if chance(rng, 0.2) else drawing
        placed.append(_place(canvas, camouflaged, frame, light, label))
        label += len(drawing.shapes)
    pixels = photograph(canvas.pixels, rng)
    objects = (_annotate(canvas.labels, item) for item in placed)
    kept = [item for item in objects if item is not None]
    return Scene(pixels, tuple(replace(item, instance_id=k + 1) for k, item in enumerate(kept)))


def _generator(seed: int, index: int) -> np.random.Generator:
    digest = hashlib.blake2b(repr(("agg-demo", seed, index)).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))


def _light(rng: np.random.Generator) -> Light:
    x, y, z = rng.uniform(-0.7, 0.7), rng.uniform(-0.9, -0.4), rng.uniform(0.6, 1.0)
    norm = float(np.sqrt(x * x + y * y + z * z))
    return Light(x / norm, y / norm, z / norm, rng.uniform(0.35, 0.6))


def _arrangement(rng: np.random.Generator, height: int, width: int, horizon: int) -> list[tuple[Drawing, Frame]]:
    """Random objects with their places, the farthest first."""
    count = pick(rng, COUNTS)
    feet = np.sort(rng.uniform(horizon + 0.08 * height, 0.985 * height, count))
    slots = rng.permutation(count)
    items = []
    for foot, slot in zip(feet, slots, strict=True):
        mirrored = chance(rng, 0.5)
        drawing = pick(rng, pick(rng, SPECIES))(rng, mirrored)
        corners = np.concatenate([piece for shape in drawing.shapes for piece in shape.pieces])
        low, high = corners.min(axis=0), corners.max(axis=0)
        extent = float(np.sqrt((high[0] - low[0]) * (high[1] - low[1])))
        near = 0.7 + 0.5 * (float(foot) - horizon) / (height - horizon)
        size = near * drawing.size * rng.uniform(0.34, 0.52) * min(height, width) * (1.25 if count == 1 else 1.0)
        scale = min(size / extent, 0.96 * float(foot) / float(-low[1]), 0.95 * width / float(high[0] - low[0]))
        # At most a tenth or so of the width leaves the picture.
        margin = min(0.4 * scale * float(high[0] - low[0]), width / 2)
        x = width * (float(slot) + 0.5 + rng.uniform(-0.45, 0.45)) / count
        x = min(max(x, margin), width - margin)
        items.append((drawing, Frame(x, float(foot), scale, rng.uniform(-0.04, 0.04), mirrored)))
    return items


def _towards(drawing: Drawing, colour: Colour, share: float) -> Drawing:
    """A drawing with all its colours moved towards a colour."""
    shapes = tuple(
        replace(
            shape,
            material=replace(
                shape.material,
                colour=mixed(shape.material.colour, colour, share),
                second=mixed(shape.material.second, colour, share),
            ),
        )
        for shape in drawing.shapes
    )
    return replace(drawing, shapes=shapes)


def _place(canvas: Canvas, drawing: Drawing, frame: Frame, light: Light, first_label: int) -> _Placed:
    outlines = [frame.all(*shape.pieces) for shape in drawing.shapes]
    cast_shadow(canvas, outlines, frame.y, light, 0.75 * (1 - light.ambient))
    for k, (shape, outline) in enumerate(zip(drawing.shapes, outlines, strict=True)):
        paint(canvas, shape, outline, frame, light, first_label + k, first_label)
    return _Placed(drawing, first_label, int(np.count_nonzero(canvas.labels >= first_label)))


def _annotate(labels: NDArray[np.int16], item: _Placed) -> ObjectMask | None:
    """The masks of an object and its parts; None if too little of it is visible."""
    height, width = labels.shape
    shapes = item.drawing.shapes
    mine = (labels >= item.first_label) & (labels < item.first_label + len(shapes))
    whole = crop_mask(mine, height, width)
    visible = area(whole)
    if visible < max(MIN_OBJECT, MIN_VISIBLE * item.outline):
        return None
    box = whole.box
    numbers = labels[box.slices].astype(np.intp) - item.first_label
    numbers[~whole.values] = len(shapes)
    names: dict[str, str] = {}
    members: dict[str, list[int]] = {}
    for k, shape in enumerate(shapes):
        for part in _lineage(shape.part):
            members.setdefault(part, []).append(k)
            names.setdefault(part, part.rpartition("/")[2].replace("_", " "))
        names[shape.part] = shape.label
    parts = []
    for part in sorted(members):
        inside = np.zeros(len(shapes) + 1, np.bool_)
        inside[members[part]] = True
        mask = crop_mask(inside.take(numbers), height, width, box.top, box.left)
        if area(mask) >= MIN_PART:
            parts.append(PartMask(part, names[part], names[part], mask, part.rpartition("/")[0] or None))
    return ObjectMask(0, item.drawing.category, whole, tuple(parts))


def _lineage(part: str) -> list[str]:
    """The paths of the parts that contain a part, the outermost first, and its own."""
    steps = part.split("/")
    return ["/".join(steps[: k + 1]) for k in range(len(steps))]
