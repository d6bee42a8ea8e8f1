"""Backgrounds: a room or a landscape with clutter; none of it is annotated."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from agg_pipeline.demo.drawing import chance, hsv, jittered, mixed, muted, pick, scaled, vivid
from agg_pipeline.demo.geometry import Frame, box, closed, ellipse, leaf, points, rounded, tube
from agg_pipeline.demo.shading import Canvas, Colour, Light, Material, Shape, paint, smooth
from agg_pipeline.demo.textures import sample


def paint_background(canvas: Canvas, rng: np.random.Generator, light: Light, horizon: int) -> Colour:
    """Paint a background: a wall or the sky, a floor or the ground, and clutter.

    Args:
        canvas: canvas to paint on; all of it is covered.
        rng: source of the random choices.
        light: light of the scene.
        horizon: row at which the floor begins.

    Returns:
        Main colour of the floor.
    """
    if chance(rng, 0.5):
        wall = _wall(rng)
        floor = _floor(rng, ("wood", "tiles", "checks", "plain", "knit", "speckle"))
        _plane(canvas, wall, 0, horizon, rng.uniform(0.8, 1.6))
        clutter = _room(rng, canvas, horizon)
    else:
        floor = _floor(rng, ("grass", "grass", "gravel", "speckle", "brick"))
        sky = hsv(rng.uniform(0.52, 0.64), rng.uniform(0.05, 0.55), rng.uniform(0.6, 0.95))
        _plane(canvas, Material(sky, (246, 244, 240), "cloud", contrast=rng.uniform(0.2, 0.8)), 0, horizon, 1.2)
        clutter = _landscape(rng, canvas, horizon)
    _ground(canvas, floor, horizon, rng)
    for shape in clutter:
        paint(canvas, shape, shape.pieces, Frame(), light, 0, 0)
    _defocus(canvas, pick(rng, (2, 2, 4)))
    for shape in _things(rng, canvas, horizon):
        paint(canvas, shape, shape.pieces, Frame(), light, 0, 0)
    return floor.colour


def _wall(rng: np.random.Generator) -> Material:
    base = muted(rng)
    texture = pick(rng, ("plain", "bands", "brick", "tiles", "dots", "wood", "speckle", "plaid"))
    second = mixed(base, pick(rng, ((250, 246, 236), (40, 36, 40))), rng.uniform(0.2, 0.5))
    if texture == "brick":
        base, second = jittered(rng, pick(rng, ((152, 84, 64), (196, 186, 172), (110, 100, 98)))), (186, 178, 168)
    return Material(base, second, texture, contrast=rng.uniform(0.25, 0.8))


def _floor(rng: np.random.Generator, textures: tuple[str, ...]) -> Material:
    texture = pick(rng, textures)
    base = muted(rng)
    if texture == "grass":
        base = hsv(rng.uniform(0.16, 0.34), rng.uniform(0.25, 0.65), rng.uniform(0.3, 0.65))
    elif texture == "wood":
        base = jittered(rng, pick(rng, ((168, 122, 78), (110, 74, 46), (196, 168, 130))))
    elif texture in ("gravel", "speckle"):
        base = hsv(rng.uniform(0.05, 0.15), rng.uniform(0.03, 0.35), rng.uniform(0.35, 0.75))
    return Material(base, scaled(base, rng.uniform(0.4, 0.75)), texture, contrast=rng.uniform(0.5, 0.9))


def _fill(canvas: Canvas, material: Material, top: int, mix: NDArray[np.uint8], tone: tuple[float, float]) -> None:
    """Fill rows from ``top`` on; ``mix`` (N, W) is the share of the second colour, ``tone`` the brightness of the first
    and the last row."""
    colour = np.array(material.colour, np.float32)[:, None, None]
    second = np.array(material.second, np.float32)[:, None, None]
    share = mix.astype(np.float32) * np.float32(material.contrast / 255)
    rows = canvas.pixels[:, top : top + len(mix)]
    np.multiply(share, second - colour, out=rows)
    rows += colour
    rows *= np.linspace(*tone, len(mix)).astype(np.float32)[:, None]


def _plane(canvas: Canvas, material: Material, top: int, bottom: int, step: float) -> None:
    """Paint rows top..bottom-1 as a surface that faces the viewer."""
    x = np.arange(canvas.labels.shape[1], dtype=np.int32) * round(step * 256)
    y = np.arange(top, bottom, dtype=np.int32)[:, None] * round(step * 256)
    _fill(canvas, material, top, sample(material.texture, x, y, step), (1.08, 0.88))


def _ground(canvas: Canvas, material: Material, horizon: int, rng: np.random.Generator) -> None:
    """Paint the rows from the horizon on as a plane in perspective."""
    height, width = canvas.labels.shape
    lift = 0.35 * height  # the vanishing line lies above the wall's foot: a view from above
    depth = 1.0 / (np.arange(horizon, height) - horizon + lift)
    spread = rng.uniform(1.2, 2.2) * height
    x = np.floor((np.arange(width) - width / 2)[None] * (spread * 256 * depth[:, None])).astype(np.int32)
    y = np.floor((spread * 1.2 * height * 256 * depth)[:, None]).astype(np.int32)
    mix = sample(material.texture, x, y, spread * float(depth[0]))
    _fill(canvas, material, horizon, mix, (0.86, 1.08))


def _room(rng: np.random.Generator, canvas: Canvas, horizon: int) -> list[Shape]:
    """Things at the wall: skirting board, pictures, a window, shelves with boxes, a curtain."""
    width = canvas.labels.shape[1]
    wood = Material(jittered(rng, (140, 100, 64)), (80, 52, 30), "wood", 0.8, 0.7)
    board = Material(muted(rng), muted(rng), "plain", 1.0, 0.3)
    shapes = [Shape("", "", (box(-8, horizon - rng.uniform(6, 16), width + 8, horizon + 2),), board, 0.5)]
    for _ in range(int(rng.integers(3, 7))):
        x, y, w, h = rng.uniform(0, width), rng.uniform(0.1, 0.5) * horizon, rng.uniform(30, 90), rng.uniform(30, 80)
        kind = pick(rng, ("picture", "shelf", "window", "cupboard"))
        if kind == "picture":
            art = Material(muted(rng), vivid(rng), pick(rng, ("cloud", "foliage", "patches", "checks")), 2.0, 0.9)
            shapes.append(Shape("", "", (box(x, y, x + w, y + h),), wood, 0.15))
            shapes.append(Shape("", "", (box(x + 6, y + 6, x + w - 6, y + h - 6),), art, 0.05))
        elif kind == "window":
            pane = Material((186, 206, 220), (236, 240, 240), "cloud", 1.5, 0.9, 0.3)
            frame = Material(muted(rng), (230, 230, 226), "plain", 1.0, 0.6)
            shapes.append(Shape("", "", (box(x, y, x + w, y + h),), frame, 0.1))
            for k in range(2):
                left = x + 5 + k * (w / 2 - 3)
                shapes.append(Shape("", "", (box(left, y + 5, left + w / 2 - 8, y + h - 5),), pane, 0.05))
        elif kind == "shelf":
            left = x
            while left < x + w * 1.6:
                thick, tall = rng.uniform(5, 16), rng.uniform(18, 44)
                cover = Material(muted(rng) if chance(rng, 0.6) else vivid(rng), muted(rng), "bands", 3.0, 0.4)
                shapes.append(Shape("", "", (rounded(box(left, y + 50 - tall, left + thick, y + 50), 2),), cover, 0.3))
                left += thick + rng.uniform(0, 6)
            shapes.append(Shape("", "", (box(x - 8, y + 50, x + w * 1.6 + 8, y + 57),), wood, 0.4))
        else:
            front = replace(wood, colour=muted(rng), second=scaled(wood.second, 1.2))
            h = rng.uniform(0.35, 0.7) * horizon
            shapes.append(Shape("", "", (rounded(box(x, horizon - h, x + w * 1.5, horizon + 8), 3),), front, 0.1))
            for k in range(3):
                top = horizon - h + 6 + k * (h / 3)
                shapes.append(
                    Shape(
                        "",
                        "",
                        (rounded(box(x + 6, top, x + w * 1.5 - 6, top + h / 3 - 6), 3),),
                        front,
                        0.12,
                        shade=0.93,
                    )
                )
    return shapes


def _landscape(rng: np.random.Generator, canvas: Canvas, horizon: int) -> list[Shape]:
    """Hills, houses, bushes and a fence along the horizon."""
    width = canvas.labels.shape[1]
    shapes = []
    haze = hsv(rng.uniform(0.3, 0.62), 0.2, 0.6)
    for k in range(int(rng.integers(1, 4))):
        tone = mixed(haze, hsv(rng.uniform(0.18, 0.4), 0.4, 0.35), (k + 1) / 4)
        heights = horizon - rng.uniform(0.1, 0.55, 6) * horizon * (1 - 0.25 * k)
        ridge = [(width * (j / 5 * 1.2 - 0.1), float(h)) for j, h in enumerate(heights)]
        outline = points((-30, horizon + 9), *ridge, (width + 30, horizon + 9))
        hill = Material(tone, scaled(tone, 0.6), pick(rng, ("foliage", "cloud", "grass")), 2.5, 0.6)
        shapes.append(Shape("", "", (rounded(outline, 60),), hill, 0.15))
    for _ in range(int(rng.integers(0, 4))):
        x, w, h = rng.uniform(-40, width), rng.uniform(40, 110), rng.uniform(0.3, 0.9) * horizon
        facade = Material(muted(rng), muted(rng), pick(rng, ("brick", "plain", "bands", "wood")), 2.5, 0.5)
        glass = Material((80, 92, 104), (170, 184, 194), "cloud", 2.0, 0.7)
        shapes.append(Shape("", "", (box(x, horizon - h, x + w, horizon + 3),), facade, 0.06))
        panes = tuple(
            box(x + w * (0.12 + 0.3 * i), horizon - h + 10 + 26 * j, x + w * (0.3 + 0.3 * i), horizon - h + 26 + 26 * j)
            for i in range(3)
            for j in range(max(1, int(h // 30)))
        )
        shapes.append(Shape("", "", panes, glass, 0.2))
    for _ in range(int(rng.integers(2, 7))):
        x, r = rng.uniform(0, width), rng.uniform(14, 50)
        tone = hsv(rng.uniform(0.17, 0.4), rng.uniform(0.25, 0.6), rng.uniform(0.2, 0.5))
        bush = Material(tone, scaled(tone, 0.4), "foliage", 2.0, 0.9, 0.0, 2.0)
        lobes = tuple(
            ellipse(x + dx * r, horizon - r * dy, r * 0.7, r * 0.65) for dx, dy in ((-0.7, 0.3), (0, 0.75), (0.7, 0.3))
        )
        shapes.append(Shape("", "", lobes, bush, 0.7))
    if chance(rng, 0.4):
        timber = Material(jittered(rng, (150, 124, 96)), (90, 70, 50), "wood", 3.0, 0.7)
        gap = rng.uniform(22, 46)
        rails = tuple(box(-4, horizon - y, width + 4, horizon - y + 5) for y in (14, 32))
        posts = tuple(
            rounded(box(x, horizon - 44, x + 8, horizon + 8), 3) for x in np.arange(rng.uniform(0, gap), width, gap)
        )
        shapes.append(Shape("", "", (*rails, *posts), timber, 0.5))
    return shapes


def _things(rng: np.random.Generator, canvas: Canvas, horizon: int) -> list[Shape]:
    """Things that lie on the floor: stones, crates, balls, leaves, sticks, tufts."""
    height, width = canvas.labels.shape
    shapes = []
    for y in np.sort(rng.uniform(horizon + 4, height, int(rng.integers(5, 13)))):
        x, size = rng.uniform(0, width), (0.5 + 0.8 * (float(y) - horizon) / (height - horizon)) * rng.uniform(8, 26)
        foot = float(y)
        kind = pick(rng, ("stone", "stone", "crate", "tuft", "stick", "leaf", "ball"))
        shade = Material((24, 22, 24), (24, 22, 24))
        if kind in ("stone", "crate", "ball"):
            shapes.append(Shape("", "", (ellipse(x + size * 0.15, foot, size * 1.1, size * 0.2),), shade, 0.2))
        if kind == "stone":
            tone = hsv(rng.uniform(0.04, 0.14), rng.uniform(0, 0.25), rng.uniform(0.3, 0.7))
            stone = closed(
                (x - size, foot),
                (x - size * 0.7, foot - size * 0.6),
                (x + size * 0.1, foot - size * rng.uniform(0.6, 1)),
                (x + size, foot - size * 0.2),
                (x + size * 0.6, foot + 2),
            )
            shapes.append(Shape("", "", (stone,), Material(tone, scaled(tone, 0.5), "gravel", 3.0, 0.6), 0.8))
        elif kind == "crate":
            wood = Material(jittered(rng, (164, 124, 80)), (90, 62, 38), "wood", 3.0, 0.8)
            shapes.append(Shape("", "", (box(x - size, foot - size * 1.5, x + size, foot),), wood, 0.1))
            shapes.append(
                Shape(
                    "",
                    "",
                    (box(x - size * 0.8, foot - size * 1.3, x + size * 0.8, foot - size * 0.2),),
                    wood,
                    0.1,
                    1.57,
                    0.75,
                )
            )
        elif kind == "ball":
            skin = Material(vivid(rng), vivid(rng), pick(rng, ("bands", "checks", "plain")), 3.0, 0.8, 0.5)
            shapes.append(Shape("", "", (ellipse(x, foot - size * 0.55, size * 0.6, size * 0.6),), skin))
        elif kind == "stick":
            a = rng.uniform(-0.5, 0.5)
            bark = Material(jittered(rng, (104, 80, 58)), (50, 38, 28), "wood", 3.0, 0.8)
            ends = (
                (x - math.cos(a) * size * 2, foot - math.sin(a) * size),
                (x, foot + 2),
                (x + math.cos(a) * size * 2, foot + math.sin(a) * size),
            )
            shapes.append(Shape("", "", tube(ends, (size * 0.12, size * 0.16, size * 0.1)), bark))
        else:
            tone = hsv(rng.uniform(0.05, 0.38), rng.uniform(0.3, 0.7), rng.uniform(0.25, 0.6))
            blade = Material(tone, scaled(tone, 0.6), "leaf", 8.0, 0.6)
            spread = (-2.2, -1.9, -1.6, -1.3, -1.0) if kind == "tuft" else (0.2, 2.6)
            blades = tuple(leaf(x, foot, size * rng.uniform(0.8, 1.4), size * 0.25, a) for a in spread)
            shapes.append(Shape("", "", blades, blade, 0.5))
    return shapes


def _defocus(canvas: Canvas, size: int) -> None:
    """Blur what has been painted so far."""
    for plane in canvas.pixels:
        plane[:] = smooth(np.floor(np.clip(plane, 0, 255)), size)
