"""Cars and buses seen from the side, driving to the right."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from agg_pipeline.demo.bodywork import CHROME, GLASS, RUBBER, arch, inset, lamps, paint_of, wheel
from agg_pipeline.demo.drawing import Drawing, chance, muted, scaled
from agg_pipeline.demo.geometry import box, closed, points, rounded
from agg_pipeline.demo.shading import Shape


def car(rng: np.random.Generator, _mirrored: bool) -> Drawing:
    """A saloon, estate or hatchback."""
    paint = paint_of(rng)
    roof = replace(paint, colour=muted(rng)) if chance(rng, 0.2) else paint
    half, r = rng.uniform(1.05, 1.4), rng.uniform(0.19, 0.25)
    waist, top = -rng.uniform(0.52, 0.62), -rng.uniform(0.92, 1.1)
    slope_front, slope_rear = rng.uniform(0.2, 0.45), rng.uniform(0.05, 0.45)
    nose, boot = half * rng.uniform(0.42, 0.55), -half * rng.uniform(0.6, 0.9)
    front, rear = half * 0.62, -half * 0.6
    sill = -r * 0.85
    hull = rounded(
        points(
            (-half, sill),
            (-half - 0.02, waist * 0.85),
            (boot - 0.05, waist - 0.02),
            (nose, waist - 0.03),
            (half - 0.12, waist * 0.82),
            (half, waist * 0.6),
            (half - 0.02, sill),
        ),
        0.14,
    )
    roof_front, roof_rear = nose - slope_front, boot + slope_rear
    cabin = rounded(
        points((boot - 0.04, waist + 0.04), (roof_rear, top), (roof_front, top), (nose + 0.06, waist + 0.04)), 0.1
    )
    pillar = roof_rear + (roof_front - roof_rear) * rng.uniform(0.42, 0.55)
    ledge, edge = waist - 0.03, top + 0.07
    screen_front = rounded(
        points((pillar + 0.03, ledge), (pillar + 0.03, edge), (roof_front - 0.03, edge), (nose - 0.05, ledge)), 0.05
    )
    screen_rear = rounded(
        points((boot + 0.1, ledge), (roof_rear + 0.05, edge), (pillar - 0.03, edge), (pillar - 0.03, ledge)), 0.05
    )
    door_a = rounded(
        points(
            (pillar + 0.02, sill - 0.03),
            (pillar + 0.02, waist + 0.01),
            (nose - 0.07, waist + 0.01),
            (front - r * 1.25, -r * 1.9),
            (front - r * 1.3, sill - 0.03),
        ),
        0.06,
    )
    door_b = rounded(
        points(
            (pillar - 0.02, sill - 0.03),
            (pillar - 0.02, waist + 0.01),
            (boot + 0.12, waist + 0.01),
            (rear + r * 1.25, -r * 1.6),
            (rear + r * 1.3, sill - 0.03),
        ),
        0.06,
    )
    shapes = [
        Shape("body", "body", (hull,), paint, 0.55),
        Shape("cabin", "cabin", (cabin,), roof, 0.4),
        Shape("cabin/window_front", "front window", (screen_front,), GLASS, 0.15),
        Shape("cabin/window_rear", "rear window", (screen_rear,), GLASS, 0.15, 0.3),
    ]
    for name, outline, at in (("front", door_a, pillar + 0.12), ("rear", door_b, boot + 0.3)):
        tone = replace(paint, colour=scaled(paint.colour, 0.97))
        shapes.append(Shape(f"body/door_{name}", f"{name} door", (outline,), tone, 0.12))
        handle = (rounded(box(at - 0.06, waist + 0.07, at + 0.06, waist + 0.105), 0.015),)
        shapes.append(Shape(f"body/door_{name}/handle", f"{name} door handle", handle, CHROME))
    bumper = replace(paint, colour=scaled(paint.colour, 0.6)) if chance(rng, 0.5) else RUBBER
    for name, x in (("front", half - 0.04), ("rear", -half + 0.03)):
        shape = rounded(box(x - 0.09, sill - 0.13, x + 0.08, sill + 0.02), 0.05)
        shapes.append(Shape(f"body/bumper_{name}", f"{name} bumper", (shape,), bumper, 0.7))
    shapes += lamps(half - 0.09, -half + 0.03, waist * 0.74)
    spokes = int(rng.integers(5, 10))
    for name, x in (("front", front), ("rear", rear)):
        shapes += [arch(x, r), *wheel(rng, name, x, r, spokes)]
    mirror = (
        closed((nose - 0.16, waist), (nose - 0.2, waist - 0.09), (nose - 0.08, waist - 0.1), (nose - 0.06, waist)),
    )
    shapes.append(Shape("cabin/mirror", "wing mirror", mirror, paint))
    return Drawing("vehicle", tuple(shapes), 1.15)


def bus(rng: np.random.Generator, _mirrored: bool) -> Drawing:
    """A bus or a van with a row of windows."""
    paint, lower = paint_of(rng), paint_of(rng)
    half, top, r = rng.uniform(0.9, 1.5), -rng.uniform(0.95, 1.15), rng.uniform(0.15, 0.2)
    sill, slope = -r * 0.8, rng.uniform(0.02, 0.3)
    hull = rounded(points((-half, sill), (-half, top), (half - slope, top), (half, top * 0.5), (half, sill)), 0.1)
    band = -rng.uniform(0.42, 0.5)
    skirt = rounded(points((-half, sill), (-half, band), (half, band), (half, sill)), 0.06)
    shapes = [
        Shape("body", "body", (hull,), paint, 0.3),
        Shape(
            "body/lower_panel",
            "lower panel",
            (skirt,),
            lower if chance(rng, 0.6) else replace(paint, colour=scaled(paint.colour, 0.8)),
            0.25,
        ),
        Shape(
            "roof",
            "roof",
            (
                rounded(
                    points(
                        (-half, top + 0.1),
                        (-half + 0.02, top - 0.01),
                        (half - slope - 0.02, top - 0.01),
                        (half - slope * 0.85, top + 0.1),
                    ),
                    0.06,
                ),
            ),
            lower,
            0.8,
        ),
    ]
    count = int(rng.integers(3, 6))
    width = (2 * half - slope - 0.16) / count
    for k in range(count):
        left = -half + 0.07 + k * width
        last = k == count - 1
        right = left + width - 0.04 + (slope * 0.5 if last else 0)
        pane = rounded(
            points(
                (left, band - 0.05),
                (left, top + 0.15),
                (right - (slope * 0.45 if last else 0), top + 0.15),
                (right, band - 0.05),
            ),
            0.04,
        )
        shapes.append(Shape(f"body/window_{k + 1}", f"window {k + 1}", (pane,), GLASS, 0.15, 0.2 * k))
    door_x = half * rng.uniform(0.15, 0.3)
    door = rounded(box(door_x, top + 0.13, door_x + 0.3, sill - 0.04), 0.04)
    leafs = replace(paint, colour=scaled(paint.colour, 0.8))
    shapes.append(Shape("body/door", "door", (door,), leafs, 0.15))
    shapes.append(
        Shape("body/door/window", "door window", (rounded(inset(door, 0.25) - (0, 0.04), 0.02),), GLASS, 0.15)
    )
    shapes += lamps(half - 0.07, -half + 0.04, band * 0.72)
    spokes = int(rng.integers(5, 8))
    for name, x in (("front", half * 0.64), ("rear", -half * 0.6)):
        shapes += [arch(x, r), *wheel(rng, name, x, r, spokes)]
    return Drawing("vehicle", tuple(shapes), 1.2)
