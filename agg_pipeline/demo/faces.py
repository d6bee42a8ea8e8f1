"""Heads of figures, and the cloth of their hats and clothes."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from agg_pipeline.demo.drawing import chance, mixed, muted, pick, scaled, vivid
from agg_pipeline.demo.geometry import Frame, Points, closed, ellipse, tube
from agg_pipeline.demo.shading import Material, Shape


def cloth(rng: np.random.Generator) -> Material:
    """A cloth of random colour and pattern."""
    texture = pick(rng, ("plain", "plaid", "bands", "dots", "knit", "denim"))
    base = vivid(rng) if chance(rng, 0.6) else muted(rng)
    second = mixed(base, pick(rng, ((245, 240, 230), (25, 25, 35))), rng.uniform(0.35, 0.8))
    return Material(base, second, texture, rng.uniform(260, 480), 0.8)


def back_hair(frame: Frame, s: float, hair: Material) -> Shape:
    """Long hair that falls behind the shoulders.

    Args:
        frame: place of the head.
        s: radius of the head.
        hair: material of the hair.
    """
    locks = closed(
        (-0.95 * s, -0.6 * s),
        (0, -1.15 * s),
        (0.95 * s, -0.6 * s),
        (1.1 * s, 1.1 * s),
        (0.8 * s, 1.9 * s),
        (-0.8 * s, 1.9 * s),
        (-1.1 * s, 1.1 * s),
    )
    return Shape("head/hair", "hair", frame.all(locks), hair, 0.6, math.pi / 2, 0.8)


def head_of(
    rng: np.random.Generator, frame: Frame, s: float, skin: Material, hair: Material, sides: tuple[str, str], style: str
) -> list[Shape]:
    """A head that looks at the viewer.

    Args:
        rng: source of the random choices.
        frame: place of the head.
        s: radius of the head.
        skin: material of the skin.
        hair: material of the hair.
        sides: names of the figure's sides; the side on the left of the picture comes first.
        style: style of the hair.
    """
    jaw = rng.uniform(0.72, 0.9)
    face: Points = closed(
        (-0.8 * s, -0.3 * s),
        (-0.45 * s, -0.95 * s),
        (0.45 * s, -0.95 * s),
        (0.8 * s, -0.3 * s),
        (jaw * 0.85 * s, 0.55 * s),
        (0, s),
        (-jaw * 0.85 * s, 0.55 * s),
    )
    shapes = []
    if style == "bun":
        shapes.append(Shape("head/hair/bun", "bun", frame.all(ellipse(0.1 * s, -1.3 * s, 0.42 * s, 0.38 * s)), hair))
    shapes.append(Shape("head/face", "face", frame.all(face), skin, 0.9))
    for name, sign in zip(sides, (-1, 1), strict=True):
        ear = ellipse(sign * 0.84 * s, 0.02 * s, 0.16 * s, 0.25 * s)
        shapes.append(Shape(f"head/ear_{name}", f"{name} ear", frame.all(ear), skin, shade=0.88))
    cap: Points = closed(
        (-0.9 * s, 0.0),
        (-0.85 * s, -0.75 * s),
        (0, -1.2 * s),
        (0.85 * s, -0.75 * s),
        (0.9 * s, 0.0),
        (0.66 * s, -0.45 * s),
        (rng.uniform(-0.3, 0.3) * s, -0.6 * s),
        (-0.66 * s, -0.45 * s),
    )
    if style == "curly":
        curls = tuple(
            ellipse(math.cos(a) * 0.8 * s, -0.45 * s + math.sin(a) * 0.62 * s, 0.4 * s, 0.36 * s)
            for a in np.linspace(math.pi * 0.95, math.pi * 2.05, 7)
        )
        shapes.append(Shape("head/hair", "hair", frame.all(*curls), replace(hair, texture="wool"), 0.6))
    elif style != "bald":
        shapes.append(Shape("head/hair", "hair", frame.all(cap), hair, 0.7, math.pi / 2))
    dark, white = Material((30, 22, 20), (30, 22, 20), gloss=0.6), Material((244, 242, 238), (230, 226, 222))
    for name, sign in zip(sides, (-1, 1), strict=True):
        x = sign * 0.34 * s
        shapes += [
            Shape(
                f"head/face/eye_{name}",
                f"{name} eye",
                frame.all(ellipse(x, 0, 0.16 * s, 0.11 * s, count=14)),
                white,
                0.3,
            ),
            Shape(
                f"head/face/eye_{name}",
                f"{name} eye",
                frame.all(ellipse(x, 0, 0.085 * s, 0.09 * s, count=12)),
                dark,
                0.3,
            ),
            Shape(
                "head/face",
                "face",
                frame.all(*tube(((x - 0.17 * s, -0.21 * s), (x + 0.17 * s, -0.21 * s)), (0.045 * s, 0.045 * s), 1)),
                replace(hair, colour=scaled(hair.colour, 0.7)),
                0.3,
            ),
        ]
    lips = Material(mixed(skin.colour, (170, 40, 50), 0.55), (120, 30, 36))
    smile = rng.uniform(0.02, 0.14)
    shapes += [
        Shape(
            "head/face/nose",
            "nose",
            frame.all(
                closed(
                    (-0.05 * s, -0.05 * s),
                    (0.05 * s, -0.05 * s),
                    (0.13 * s, 0.3 * s),
                    (0, 0.36 * s),
                    (-0.13 * s, 0.3 * s),
                )
            ),
            skin,
            shade=1.06,
        ),
        Shape(
            "head/face/mouth",
            "mouth",
            frame.all(
                closed(
                    (-0.27 * s, (0.6 - smile) * s),
                    (0, 0.57 * s),
                    (0.27 * s, (0.6 - smile) * s),
                    (0, (0.64 + smile) * s),
                )
            ),
            lips,
            0.5,
        ),
    ]
    if chance(rng, 0.35):
        felt = cloth(rng)
        brim = closed((-1.25 * s, -0.62 * s), (0, -0.78 * s), (1.25 * s, -0.62 * s), (0, -0.42 * s))
        crown = closed((-0.82 * s, -0.6 * s), (-0.7 * s, -1.35 * s), (0.7 * s, -1.35 * s), (0.82 * s, -0.6 * s))
        shapes.append(Shape("head/hat", "hat", frame.all(crown), felt, 0.8))
        shapes.append(
            Shape("head/hat/brim", "hat brim", frame.all(brim), replace(felt, colour=scaled(felt.colour, 0.8)), 0.7)
        )
    return shapes
