"""Plants: potted flowers, potted foliage plants, and small trees."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from agg_pipeline.demo.drawing import Drawing, chance, hsv, jittered, mixed, muted, pick, scaled, vivid
from agg_pipeline.demo.geometry import Frame, Pieces, closed, curve, ellipse, leaf, points, rounded, tube
from agg_pipeline.demo.shading import Material, Shape


def _green(rng: np.random.Generator) -> Material:
    base = hsv(rng.uniform(0.2, 0.42), rng.uniform(0.35, 0.75), rng.uniform(0.25, 0.6))
    return Material(base, mixed(base, (225, 235, 150), 0.55), "leaf", 1000.0, 0.8, rng.uniform(0.05, 0.5))


def _pot(rng: np.random.Generator) -> list[Shape]:
    top, foot, height = rng.uniform(0.2, 0.3), rng.uniform(0.13, 0.22), rng.uniform(0.26, 0.42)
    clay = Material((178, 96, 62), (140, 72, 46), "speckle", 300.0, 0.5)
    glazed = Material(vivid(rng), muted(rng), pick(rng, ("plain", "bands", "dots", "speckle")), 280.0, 0.7, 0.6)
    wicker = Material((186, 150, 100), (104, 74, 40), "knit", 420.0, 0.9)
    body = pick(rng, (clay, glazed, wicker))
    belly = rng.uniform(0.0, 0.06)
    side = points(
        (-foot, 0),
        (-foot - belly - 0.02, -height * 0.45),
        (-top, -height),
        (top, -height),
        (foot + belly + 0.02, -height * 0.45),
        (foot, 0),
    )
    rim = rounded(
        points(
            (-top - 0.02, -height - 0.03),
            (top + 0.02, -height - 0.03),
            (top + 0.02, -height + 0.05),
            (-top - 0.02, -height + 0.05),
        ),
        0.03,
    )
    soil = Material((64, 46, 34), (30, 22, 18), "gravel", 500.0, 0.9)
    return [
        Shape("pot", "pot", (rounded(side, 0.05),), body, 0.95),
        Shape("pot/rim", "pot rim", (rim,), replace(body, colour=scaled(body.colour, 1.1)), 0.8),
        Shape("pot/soil", "soil", (ellipse(0, -height - 0.03, top * 0.93, 0.035),), soil, 0.3),
    ]


def _flower(
    rng: np.random.Generator,
    part: str,
    label: str,
    x: float,
    y: float,
    petals: Material,
    heart: Material,
    size: float,
    count: int,
) -> list[Shape]:
    turn, squash = rng.uniform(0, 6), rng.uniform(0.65, 1.0)
    shapes = []
    for k in range(count):
        angle = turn + k * 2 * math.pi / count
        outline = leaf(0, 0, size, size * 5.2 / count, angle, 0.35) * (1, squash) + np.array((x, y))
        name = f"{part}/petal_{k + 1}"
        material = replace(petals, grain=petals.grain / size)
        shapes.append(Shape(name, f"{label} petal {k + 1}", (outline,), material, 0.8, angle, rng.uniform(0.88, 1.05)))
    shapes.append(
        Shape(f"{part}/centre", f"{label} centre", (ellipse(x, y, size * 0.33, size * 0.33 * squash),), heart)
    )
    return shapes


def flowers(rng: np.random.Generator, _mirrored: bool) -> Drawing:
    """A pot with shoots, each with a stem, leaves and a flower of several petals."""
    pot = _pot(rng)
    base = float(pot[2].pieces[0][:, 1].mean())
    green = _green(rng)
    bloom = vivid(rng)
    petals = Material(bloom, mixed(bloom, (255, 250, 240), rng.uniform(0.2, 0.7)), "petal", 300.0, 0.9, 0.1)
    heart = Material(jittered(rng, (214, 160, 40)), (110, 66, 20), "gravel", 1500.0, 0.8)
    count, shoots = int(rng.integers(5, 9)), int(rng.integers(2, 5))
    shapes = pot
    spread = rng.uniform(0.25, 0.42)
    order = rng.permutation(shoots)
    for k in order:
        place = (int(k) + 0.5) / shoots * 2 - 1
        name, label = f"shoot_{int(k) + 1}", f"shoot {int(k) + 1}"
        end = (place * spread + rng.uniform(-0.05, 0.05), base - rng.uniform(0.4, 0.85))
        middle = (place * spread * 0.35 + rng.uniform(-0.06, 0.06), base + (end[1] - base) * 0.5)
        path = ((place * 0.08, base), middle, end)
        stem = replace(green, texture="plain", colour=scaled(green.colour, 0.9))
        shapes.append(Shape(f"{name}/stem", f"{label} stem", tube(path, (0.02, 0.017, 0.013)), stem))
        along = curve(np.array(path), 6)
        for number in range(int(rng.integers(1, 4))):
            x, y = along[3 + 3 * number]
            tilt = pick(rng, (-1.0, 1.0)) * rng.uniform(0.5, 1.2) - math.pi / 2
            length = rng.uniform(0.2, 0.32)
            outline = leaf(float(x), float(y), length, length * rng.uniform(0.32, 0.5), tilt)
            part = f"{name}/leaf_{number + 1}"
            shapes.append(
                Shape(part, f"{label} leaf {number + 1}", (outline,), green, 0.7, tilt, rng.uniform(0.8, 1.1))
            )
        shapes += _flower(rng, f"{name}/flower", f"{label} flower", *end, petals, heart, rng.uniform(0.12, 0.19), count)
    return Drawing("plant", tuple(shapes), 0.95)


def _blade(kind: str, x: float, y: float, tilt: float, length: float) -> Pieces:
    if kind == "oval":
        return (leaf(x, y, length, length * 0.48, tilt, 0.5),)
    if kind == "sword":
        bend = (tilt + math.pi / 2) * 0.9
        tip = (x + math.sin(bend) * length * 1.1, y - math.cos(bend) * length * 0.9)
        middle = (x + math.sin(bend) * length * 0.35, y - length * 0.6)
        return tube(((x, y), middle, tip), (0.025, 0.045, 0.006))
    lobes = Frame(x, y, length, tilt)
    half = [(0.1, 0.3), (0.3, 0.42), (0.36, 0.2), (0.55, 0.4), (0.6, 0.18), (0.8, 0.26)]
    outline = [(0.0, 0.0), *half, (1.0, 0.0), *((u, -v) for u, v in reversed(half))]
    return (lobes.at(curve(np.array(outline), 3, closed=True)),)


def foliage(rng: np.random.Generator, _mirrored: bool) -> Drawing:
    """A pot with large leaves on stalks."""
    pot = _pot(rng)
    base = float(pot[2].pieces[0][:, 1].mean())
    green, kind = _green(rng), pick(rng, ("oval", "sword", "lobed"))
    count = int(rng.integers(5, 11))
    shapes = pot
    fan = np.linspace(-1, 1, count) * rng.uniform(0.8, 1.25)
    for number, k in enumerate(rng.permutation(count)):
        lean = float(fan[k]) + rng.uniform(-0.12, 0.12)
        stalk = 0.0 if kind == "sword" else rng.uniform(0.12, 0.5)
        length = rng.uniform(0.55, 0.95) if kind == "sword" else rng.uniform(0.28, 0.45)
        end = (math.sin(lean) * stalk, base - math.cos(lean) * stalk)
        part, label = f"leaf_{number + 1}", f"leaf {number + 1}"
        tone = replace(green, colour=jittered(rng, green.colour, 0.1), grain=500.0 / length)
        if stalk:
            path = ((lean * 0.03, base), (end[0] * 0.35, base + (end[1] - base) * 0.6), end)
            stem = replace(green, texture="plain", colour=scaled(green.colour, 0.85))
            shapes.append(Shape(f"{part}/stalk", f"{label} stalk", tube(path, (0.014, 0.013, 0.012)), stem))
        tilt = lean * 1.25 - math.pi / 2
        blade = _blade(kind, *end, tilt, length)
        name = part if kind == "sword" else f"{part}/blade"
        shapes.append(
            Shape(name, label if kind == "sword" else f"{label} blade", blade, tone, 0.6, tilt, rng.uniform(0.75, 1.1))
        )
    return Drawing("plant", tuple(shapes), 1.0)


def tree(rng: np.random.Generator, _mirrored: bool) -> Drawing:
    """A small tree: trunk, branches, and a crown of leaf clusters, sometimes with fruit."""
    bark = Material(jittered(rng, (112, 86, 64)), (56, 40, 30), "wood", 380.0, 0.8)
    green = _green(rng)
    leaves = replace(
        green, texture="foliage", grain=420.0, second=scaled(green.colour, 0.35), contrast=0.95, gloss=0.0, fur=2.0
    )
    tall, lean = rng.uniform(0.4, 0.6), rng.uniform(-0.06, 0.06)
    shapes = [
        Shape(
            "trunk/branch_left",
            "left branch",
            tube(((0, -tall * 0.7), (-0.1, -tall), (-0.22, -tall - 0.12)), (0.045, 0.035, 0.02)),
            bark,
            angle=-1.0,
        ),
        Shape(
            "trunk/branch_right",
            "right branch",
            tube(((0, -tall * 0.8), (0.1, -tall), (0.2, -tall - 0.15)), (0.04, 0.03, 0.02)),
            bark,
            angle=1.0,
        ),
        Shape(
            "trunk",
            "trunk",
            (
                *tube(((0, -0.02), (lean, -tall * 0.5), (0, -tall - 0.15)), (0.07, 0.055, 0.045)),
                points((-0.12, 0), (-0.05, -0.14), (0.05, -0.14), (0.13, 0)),
            ),
            bark,
            angle=math.pi / 2,
        ),
    ]
    count, wide = int(rng.integers(4, 8)), rng.uniform(0.2, 0.32)
    for k in range(count):
        angle = k * 2 * math.pi / count + rng.uniform(-0.3, 0.3)
        x, y = math.cos(angle) * wide, -tall - 0.3 + math.sin(angle) * wide * 0.65
        r = rng.uniform(0.15, 0.23)
        wobble = [
            (x + math.cos(a) * r * w, y + math.sin(a) * r * w)
            for a, w in zip(np.arange(9) * 0.698, rng.uniform(0.8, 1.15, 9), strict=True)
        ]
        tone = replace(leaves, colour=jittered(rng, leaves.colour, 0.15))
        shapes.append(Shape(f"crown/cluster_{k + 1}", f"leaf cluster {k + 1}", (closed(*wobble),), tone, 0.9))
    if chance(rng, 0.6):
        skin = Material(
            pick(rng, ((196, 50, 36), (230, 150, 30), (236, 200, 60), (120, 40, 90))),
            (150, 160, 40),
            "cloud",
            300.0,
            0.4,
            0.6,
        )
        for k in range(int(rng.integers(2, 7))):
            x, y = rng.uniform(-wide, wide), -tall - 0.3 + rng.uniform(-0.2, 0.25)
            shapes.append(Shape(f"crown/fruit_{k + 1}", f"fruit {k + 1}", (ellipse(x, y, 0.05, 0.05),), skin))
    return Drawing("plant", tuple(shapes), 1.15)
