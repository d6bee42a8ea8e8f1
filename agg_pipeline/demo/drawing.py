"""What the modules of all species share: the drawing that they return, random choices and colours."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from agg_pipeline.demo.shading import Colour, Shape

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Drawing:
    """An object before it is placed in a scene; it stands on y = 0.

    Attributes:
        category: class of the object.
        shapes: its surfaces from back to front.
        size: usual size relative to other objects.
    """

    category: str
    shapes: tuple[Shape, ...]
    size: float = 1.0


def pick(rng: np.random.Generator, choices: Sequence[T]) -> T:
    """One of the choices, each with the same probability."""
    return choices[int(rng.integers(len(choices)))]


def chance(rng: np.random.Generator, probability: float) -> bool:
    """True with the given probability."""
    return bool(rng.random() < probability)


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """RGB in 0..255.

    Args:
        hue: hue in turns; wraps around.
        saturation: clipped to [0, 1].
        value: brightness, clipped to [0, 1].
    """
    saturation, value = min(max(saturation, 0.0), 1.0), min(max(value, 0.0), 1.0)
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    return red * 255, green * 255, blue * 255


def mixed(a: Colour, b: Colour, share: float) -> Colour:
    """Blend two colours.

    Args:
        a, b: RGB in 0..255.
        share: share of ``b``, in [0, 1].
    """
    keep = 1 - share
    return a[0] * keep + b[0] * share, a[1] * keep + b[1] * share, a[2] * keep + b[2] * share


def scaled(colour: Colour, factor: float) -> Colour:
    """A darker or brighter version of a colour."""
    return colour[0] * factor, colour[1] * factor, colour[2] * factor


def jittered(rng: np.random.Generator, colour: Colour, amount: float = 0.12) -> Colour:
    """A random colour near a colour.

    Args:
        rng: source of the random change.
        colour: the colour.
        amount: largest relative change in brightness; the change of each channel grows with it.
    """
    overall = rng.uniform(1 - amount, 1 + amount)
    channels = rng.uniform(-60 * amount, 60 * amount, 3)
    red, green, blue = (min(max(c * overall + float(d), 4.0), 250.0) for c, d in zip(colour, channels, strict=True))
    return red, green, blue


def vivid(rng: np.random.Generator) -> Colour:
    """A random saturated colour."""
    return hsv(rng.random(), rng.uniform(0.5, 0.9), rng.uniform(0.45, 0.9))


def muted(rng: np.random.Generator) -> Colour:
    """A random greyish colour."""
    return hsv(rng.random(), rng.uniform(0.05, 0.4), rng.uniform(0.25, 0.85))
