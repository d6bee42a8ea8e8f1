"""What all vehicles share: paint, glass, wheels and lamps."""

from __future__ import annotations

import math

import numpy as np

from agg_pipeline.demo.drawing import chance, jittered, mixed, pick, vivid
from agg_pipeline.demo.geometry import Points, box, ellipse, rounded
from agg_pipeline.demo.shading import Material, Shape

GLASS = Material((66, 82, 94), (150, 172, 186), "cloud", 260.0, 0.8, 0.9)
TYRE = Material((34, 34, 36), (58, 57, 57), "speckle", 500.0, 0.6, 0.1)
CHROME = Material((168, 172, 178), (90, 94, 100), "plain", 300.0, 0.5, 0.9)
RUBBER = Material((44, 44, 46), (26, 26, 28), "speckle", 300.0, 0.5, 0.1)


def paint_of(rng: np.random.Generator) -> Material:
    """Paint of a random colour."""
    base = (
        vivid(rng) if chance(rng, 0.65) else pick(rng, ((226, 226, 222), (48, 50, 54), (150, 154, 158), (120, 30, 30)))
    )
    base = jittered(rng, base)
    return Material(base, mixed(base, (255, 255, 255), 0.35), "cloud", 220.0, 0.45, 0.7)


def wheel(rng: np.random.Generator, name: str, x: float, r: float, spokes: int) -> list[Shape]:
    """A wheel with tyre, hub and cap.

    Args:
        rng: source of the random turn.
        name: name of its place, such as "front".
        x: place of its centre.
        r: radius.
        spokes: number of spokes.
    """
    part, label = f"wheel_{name}", f"{name} wheel"
    turn = rng.uniform(0, 6)
    shapes = [
        Shape(part, label, (ellipse(x, -r, r, r, count=36),), TYRE, 0.35),
        Shape(f"{part}/hub", f"{label} hub", (ellipse(x, -r, r * 0.62, r * 0.62),), CHROME, 0.3),
    ]
    gaps = []
    for k in range(spokes):
        a = turn + k * 2 * math.pi / spokes
        gaps.append(ellipse(x + math.cos(a) * r * 0.38, -r + math.sin(a) * r * 0.38, r * 0.15, r * 0.9 / spokes, a, 14))
    shapes.append(Shape(f"{part}/hub", f"{label} hub", tuple(gaps), RUBBER, 0.3))
    shapes.append(Shape(f"{part}/hub/cap", f"{label} cap", (ellipse(x, -r, r * 0.16, r * 0.16, count=14),), CHROME))
    return shapes


def arch(x: float, r: float) -> Shape:
    """The dark wheel arch around a wheel of radius ``r`` at ``x``."""
    return Shape("body", "body", (ellipse(x, -r, r * 1.17, r * 1.17),), Material((20, 20, 22), (30, 30, 32)), 0.2)


def lamps(front: float, rear: float, y: float, part: str = "body") -> list[Shape]:
    """Headlight and tail light.

    Args:
        front: x of the headlight.
        rear: x of the tail light.
        y: height of both.
        part: path of the part that the headlight belongs to.
    """
    clear = Material((244, 240, 214), (255, 255, 255), gloss=1.0)
    red = Material((176, 28, 24), (230, 90, 60), gloss=0.9)
    return [
        Shape(f"{part}/headlight", "headlight", (ellipse(front, y, 0.075, 0.05, 0.2),), clear, 0.8),
        Shape(
            "body/tail_light",
            "tail light",
            (rounded(box(rear - 0.045, y - 0.08, rear + 0.045, y + 0.06), 0.03),),
            red,
            0.8,
        ),
    ]


def inset(outline: Points, share: float) -> Points:
    """An outline (N, 2), shrunk towards its middle by a share of its size."""
    return np.asarray(outline * (1 - share) + outline.mean(axis=0) * share, np.float64)
