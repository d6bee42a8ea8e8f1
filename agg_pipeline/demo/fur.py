"""Coats and eyes of the animals."""

from __future__ import annotations

import numpy as np

from agg_pipeline.demo.drawing import jittered, pick, scaled
from agg_pipeline.demo.geometry import Frame, ellipse
from agg_pipeline.demo.shading import Colour, Material, Shape

COATS: tuple[tuple[Colour, Colour], ...] = (
    ((150, 105, 62), (84, 52, 28)),
    ((205, 140, 70), (120, 66, 26)),
    ((120, 116, 112), (60, 58, 58)),
    ((226, 218, 204), (92, 66, 46)),
    ((58, 52, 50), (28, 25, 25)),
    ((214, 178, 124), (106, 74, 42)),
    ((235, 232, 226), (46, 44, 46)),
    ((96, 62, 40), (190, 160, 126)),
    ((176, 84, 46), (240, 226, 208)),
)
"""Main and second colour of coats."""

DARK: Colour = (26, 22, 22)
"""Colour of noses and mouths."""


def coat_of(rng: np.random.Generator, texture: str) -> Material:
    """A coat of random colours with the given texture."""
    base, second = pick(rng, COATS)
    if texture == "wool":
        base, second = pick(rng, (((228, 220, 202), (150, 140, 122)), ((96, 84, 76), (50, 42, 38))))
    frayed = 1.1 if texture != "wool" else 1.6
    grain = {"wool": 420.0, "tabby": 330.0, "patches": 330.0, "stripes": 260.0, "spots": 300.0}.get(texture, 360.0)
    return Material(jittered(rng, base), jittered(rng, second), texture, grain, rng.uniform(0.7, 0.95), 0.05, frayed)


def eye(part: str, label: str, x: float, y: float, r: float, iris: Colour, frame: Frame) -> list[Shape]:
    """An eye with iris, pupil and glint.

    Args:
        part: path of the part.
        label: name of the part.
        x: place in the head.
        y: place in the head.
        r: radius.
        iris: colour of the iris.
        frame: place of the head.
    """
    ball = Material(iris, scaled(iris, 0.6), gloss=0.8)
    pupil, glint = Material((14, 12, 12), (14, 12, 12), gloss=0.9), Material((250, 250, 250), (250, 250, 250))
    return [
        Shape(part, label, frame.all(ellipse(x, y, r, r, count=16)), ball),
        Shape(part, label, frame.all(ellipse(x, y, r * 0.55, r * 0.6, count=14)), pupil),
        Shape(part, label, frame.all(ellipse(x - r * 0.2, y - r * 0.3, r * 0.2, r * 0.2, count=10)), glint, 0.2),
    ]
