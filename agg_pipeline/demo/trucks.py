"""Trucks seen from the side, driving to the right."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from agg_pipeline.demo.bodywork import CHROME, GLASS, paint_of, wheel
from agg_pipeline.demo.drawing import Drawing, hsv, jittered, muted, pick, scaled, vivid
from agg_pipeline.demo.geometry import box, closed, ellipse, points, rounded, tube
from agg_pipeline.demo.shading import Material, Shape


def truck(rng: np.random.Generator, _mirrored: bool) -> Drawing:
    """A truck: a cab in front and a box, an open bed or a tank behind."""
    paint, load = paint_of(rng), pick(rng, ("box", "bed", "tank"))
    r, half = rng.uniform(0.17, 0.22), rng.uniform(1.1, 1.45)
    sill, top = -r * 0.9, -rng.uniform(0.85, 1.05)
    cab_left = half - rng.uniform(0.55, 0.7)
    slope = rng.uniform(0.05, 0.22)
    cab = rounded(
        points(
            (cab_left, sill),
            (cab_left, top),
            (half - slope, top),
            (half - slope * 0.3, top * 0.55),
            (half, top * 0.5),
            (half, sill),
        ),
        0.08,
    )
    window = rounded(
        points(
            (cab_left + 0.12, top * 0.56),
            (cab_left + 0.12, top + 0.1),
            (half - slope - 0.06, top + 0.1),
            (half - slope * 0.4 - 0.06, top * 0.56),
        ),
        0.05,
    )
    rail = Material((60, 60, 62), (36, 36, 38), "speckle", 300.0, 0.5, 0.2)
    shapes = [
        Shape("chassis", "chassis", (rounded(box(-half, sill - 0.12, half - 0.05, sill + 0.02), 0.02),), rail, 0.6)
    ]
    floor = sill - 0.1
    if load == "box":
        skin = Material(
            jittered(rng, pick(rng, ((222, 220, 212), (190, 170, 130), (90, 110, 140)))),
            muted(rng),
            "bands",
            90.0,
            0.25,
            0.15,
        )
        high = top - rng.uniform(0.05, 0.3)
        shapes.append(
            Shape(
                "cargo_box", "cargo box", (rounded(box(-half - 0.02, high, cab_left - 0.05, floor), 0.03),), skin, 0.12
            )
        )
        sign = ellipse((cab_left - half) / 2, (high + floor) / 2, 0.26, 0.2)
        shapes.append(
            Shape("cargo_box/sign", "sign", (sign,), Material(vivid(rng), vivid(rng), "checks", 300.0, 0.6), 0.1)
        )
    elif load == "bed":
        timber = Material((150, 112, 72), (86, 58, 34), "wood", 300.0, 0.8)
        pile = Material((120, 96, 66), (60, 46, 32), "gravel", 300.0, 0.9)
        heap = closed(
            (-half + 0.05, floor - 0.2),
            (-half * 0.6, floor - 0.45),
            (-half * 0.2, floor - 0.5),
            (cab_left - 0.12, floor - 0.2),
        )
        shapes.append(Shape("bed/load", "load", (heap,), pile, 0.6))
        shapes.append(
            Shape("bed", "bed", (rounded(box(-half - 0.02, floor - 0.25, cab_left - 0.05, floor), 0.02),), timber, 0.2)
        )
    else:
        steel = Material((176, 180, 186), (120, 126, 134), "plain", 200.0, 0.5, 0.9)
        shapes.append(
            Shape("tank", "tank", (rounded(box(-half, floor - 0.5, cab_left - 0.05, floor), 0.2),), steel, 1.0)
        )
        for k in range(2):
            x = -half + 0.4 + 0.5 * k
            shapes.append(
                Shape(
                    "tank/bands", "tank bands", tube(((x, floor - 0.49), (x, floor - 0.01)), (0.025, 0.025), 2), paint
                )
            )
    shapes += [
        Shape("cab", "cab", (cab,), paint, 0.4),
        Shape(
            "cab/door",
            "cab door",
            (rounded(box(cab_left + 0.07, top * 0.54, cab_left + 0.4, sill - 0.05), 0.05),),
            replace(paint, colour=scaled(paint.colour, 0.9)),
            0.15,
        ),
        Shape(
            "cab/door/handle",
            "door handle",
            (rounded(box(cab_left + 0.1, top * 0.46, cab_left + 0.19, top * 0.43), 0.01),),
            CHROME,
        ),
        Shape("cab/window", "cab window", (window,), GLASS, 0.15),
        Shape(
            "cab/grille",
            "grille",
            (rounded(box(half - 0.12, top * 0.46, half - 0.01, sill - 0.1), 0.03),),
            replace(CHROME, texture="bands", grain=900.0, contrast=0.9),
            0.4,
        ),
    ]
    amber = Material(hsv(0.11, 0.8, 0.95), (255, 230, 160), gloss=0.8)
    shapes.append(Shape("cab/headlight", "headlight", (ellipse(half - 0.05, sill - 0.08, 0.06, 0.05),), amber))
    spokes = int(rng.integers(5, 8))
    for name, x in (("front", half - 0.3), ("middle", -half * 0.35), ("rear", -half + 0.28)):
        shapes += wheel(rng, name, x, r, spokes)
    return Drawing("vehicle", tuple(shapes), 1.25)
