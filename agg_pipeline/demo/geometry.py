"""Outlines in the plane: float64 arrays of points (N, 2) in (x, y) order, x to the right and y down."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
Pieces = tuple[Points, ...]

_TURN = np.linspace(-math.pi / 2, math.pi / 2, 7)
HALF_CIRCLE = np.cos(_TURN)[:, None], np.sin(_TURN)[:, None]


@dataclass(frozen=True, slots=True)
class Frame:
    """Where a drawing goes: scaled, mirrored left to right, turned by ``angle`` (radians), then moved to (x, y)."""

    x: float = 0.0
    y: float = 0.0
    scale: float = 1.0
    angle: float = 0.0
    mirrored: bool = False

    def at(self, points: Points) -> Points:
        """Points (N, 2) of the drawing in the frame that contains it."""
        cos, sin = math.cos(self.angle) * self.scale, math.sin(self.angle) * self.scale
        flip = -1.0 if self.mirrored else 1.0
        x, y = points[:, 0] * flip, points[:, 1]
        placed = np.empty_like(points)
        placed[:, 0] = self.x + cos * x - sin * y
        placed[:, 1] = self.y + sin * x + cos * y
        return placed

    def all(self, *pieces: Points) -> Pieces:
        """``at`` for several outlines."""
        placed = self.at(np.concatenate(pieces))
        ends = list(itertools.accumulate(len(piece) for piece in pieces))
        return tuple(placed[start:end] for start, end in zip([0, *ends], ends, strict=False))


def points(*pairs: tuple[float, float]) -> Points:
    """The outline through the given corners."""
    return np.array(pairs, np.float64)


def ellipse(x: float, y: float, rx: float, ry: float, angle: float = 0.0, count: int = 28) -> Points:
    """Ellipse around (x, y) with half axes rx, ry, turned by ``angle`` radians."""
    turn = np.arange(count) * (2 * math.pi / count)
    return Frame(x, y, 1.0, angle).at(np.stack((rx * np.cos(turn), ry * np.sin(turn)), axis=1))


def box(left: float, top: float, right: float, bottom: float) -> Points:
    """Upright rectangle."""
    return points((left, top), (right, top), (right, bottom), (left, bottom))


def curve(control: Points, samples: int = 6, closed: bool = False) -> Points:
    """Smooth (Catmull-Rom) curve through the rows of ``control`` (N, D), ``samples`` points per stretch."""
    if closed:
        padded = np.concatenate((control[-1:], control, control[:2]))
    else:
        padded = np.concatenate((2 * control[:1] - control[1:2], control, 2 * control[-1:] - control[-2:-1]))
    a, b, c, d = padded[:-3, None], padded[1:-2, None], padded[2:-1, None], padded[3:, None]
    t = (np.arange(samples) / samples)[None, :, None]
    path = b + t / 2 * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
    path = path.reshape(-1, control.shape[1])
    return path if closed else np.concatenate((path, control[-1:]))


def closed(*pairs: tuple[float, float]) -> Points:
    """Smooth closed outline through the given points."""
    return curve(points(*pairs), closed=True)


def rounded(corners: Points, radius: float, samples: int = 5) -> Points:
    """Polygon whose corners are replaced with arcs that start ``radius`` before the corner."""
    before, after = np.roll(corners, 1, axis=0) - corners, np.roll(corners, -1, axis=0) - corners
    reach_before, reach_after = np.hypot(*before.T)[:, None], np.hypot(*after.T)[:, None]
    start = corners + before * np.minimum(radius / reach_before, 0.5)
    end = corners + after * np.minimum(radius / reach_after, 0.5)
    t = (np.arange(samples) / (samples - 1))[None, :, None]
    arcs = (1 - t) ** 2 * start[:, None] + 2 * t * (1 - t) * corners[:, None] + t**2 * end[:, None]
    return np.asarray(arcs.reshape(-1, 2), np.float64)


def tube(path: Sequence[tuple[float, float]], radii: Sequence[float], samples: int = 4) -> Pieces:
    """A tapered limb along a smooth path with the given radius at each of its points, as overlapping capsules."""
    spine = curve(np.column_stack((np.array(path, np.float64), np.array(radii, np.float64))), samples)
    centre, radius = spine[:, :2], np.abs(spine[:, 2])
    ahead = np.diff(centre, axis=0)
    ahead /= np.maximum(np.sqrt((ahead * ahead).sum(axis=1, keepdims=True)), 1e-9)
    beside = np.stack((-ahead[:, 1], ahead[:, 0]), axis=1)
    cap = HALF_CIRCLE[0] * ahead[:, None] + HALF_CIRCLE[1] * beside[:, None]
    rear, fore = centre[:-1, None] - radius[:-1, None, None] * cap, centre[1:, None] + radius[1:, None, None] * cap
    return tuple(np.concatenate((rear, fore), axis=1))


def leaf(x: float, y: float, length: float, width: float, angle: float, tip: float = 0.6) -> Points:
    """A leaf that grows from (x, y) in direction ``angle``; ``tip``: where along it the widest place is."""
    side = points((0, 0), (0.2, 0.7), (1 - tip, 1.0), (0.8, 0.55), (1, 0))
    upper = curve(side)
    outline = np.concatenate((upper, upper[-2:0:-1] * (1, -1))) * (length, width / 2)
    return Frame(x, y, 1.0, angle).at(outline)
