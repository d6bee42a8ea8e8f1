"""Outlines in the plane: float64 arrays of points (N, 2) in (x, y) order, x to the right and y down."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
"""An outline: (N, 2), (x, y)."""
Pieces = tuple[Points, ...]
"""Several outlines; the shape is their union."""

_TURN = np.linspace(-math.pi / 2, math.pi / 2, 7)
HALF_CIRCLE = np.cos(_TURN)[:, None], np.sin(_TURN)[:, None]
"""Points of a half circle: components ahead and aside, (7, 1) each."""


@dataclass(frozen=True, slots=True)
class Frame:
    """Where a drawing is placed: it is mirrored and scaled, then turned, then moved.

    Attributes:
        x: place of the drawing's origin.
        y: place of the drawing's origin.
        scale: factor of the size.
        angle: turn, radians.
        mirrored: whether left and right are exchanged.
    """

    x: float = 0.0
    y: float = 0.0
    scale: float = 1.0
    angle: float = 0.0
    mirrored: bool = False

    def at(self, points: Points) -> Points:
        """Place an outline (N, 2) of the drawing."""
        cos, sin = math.cos(self.angle) * self.scale, math.sin(self.angle) * self.scale
        flip = -1.0 if self.mirrored else 1.0
        x, y = points[:, 0] * flip, points[:, 1]
        placed = np.empty_like(points)
        placed[:, 0] = self.x + cos * x - sin * y
        placed[:, 1] = self.y + sin * x + cos * y
        return placed

    def all(self, *pieces: Points) -> Pieces:
        """Place several outlines."""
        placed = self.at(np.concatenate(pieces))
        ends = list(itertools.accumulate(len(piece) for piece in pieces))
        return tuple(placed[start:end] for start, end in zip([0, *ends], ends, strict=False))


def points(*pairs: tuple[float, float]) -> Points:
    """The outline through the given corners."""
    return np.array(pairs, np.float64)


def ellipse(x: float, y: float, rx: float, ry: float, angle: float = 0.0, count: int = 28) -> Points:
    """An ellipse.

    Args:
        x: centre.
        y: centre.
        rx: half axis along x.
        ry: half axis along y.
        angle: turn, radians.
        count: number of points.
    """
    turn = np.arange(count) * (2 * math.pi / count)
    return Frame(x, y, 1.0, angle).at(np.stack((rx * np.cos(turn), ry * np.sin(turn)), axis=1))


def box(left: float, top: float, right: float, bottom: float) -> Points:
    """An upright rectangle.

    Args:
        left, right: x of its sides.
        top, bottom: y of its sides.

    Returns:
        Its four corners, (4, 2).
    """
    return points((left, top), (right, top), (right, bottom), (left, bottom))


def curve(control: Points, samples: int = 6, closed: bool = False) -> Points:
    """A smooth (Catmull-Rom) curve.

    Args:
        control: (N, D) points that it passes through.
        samples: points per stretch between two of them.
        closed: whether it returns to the first point.

    Returns:
        (M, D) points.
    """
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
    """The smooth closed outline through the given points."""
    return curve(points(*pairs), closed=True)


def rounded(corners: Points, radius: float, samples: int = 5) -> Points:
    """A polygon with rounded corners.

    Args:
        corners: (N, 2) corners.
        radius: distance from a corner at which its arc starts.
        samples: points per arc.
    """
    before, after = np.roll(corners, 1, axis=0) - corners, np.roll(corners, -1, axis=0) - corners
    reach_before, reach_after = np.hypot(*before.T)[:, None], np.hypot(*after.T)[:, None]
    start = corners + before * np.minimum(radius / reach_before, 0.5)
    end = corners + after * np.minimum(radius / reach_after, 0.5)
    t = (np.arange(samples) / (samples - 1))[None, :, None]
    arcs = (1 - t) ** 2 * start[:, None] + 2 * t * (1 - t) * corners[:, None] + t**2 * end[:, None]
    return np.asarray(arcs.reshape(-1, 2), np.float64)


def tube(path: Sequence[tuple[float, float]], radii: Sequence[float], samples: int = 4) -> Pieces:
    """A tapered limb along a smooth path, as overlapping capsules.

    Args:
        path: points of the path.
        radii: radius at each point.
        samples: capsules per stretch between two points.
    """
    spine = curve(np.column_stack((np.array(path, np.float64), np.array(radii, np.float64))), samples)
    centre, radius = spine[:, :2], np.abs(spine[:, 2])
    ahead = np.diff(centre, axis=0)
    ahead /= np.maximum(np.sqrt((ahead * ahead).sum(axis=1, keepdims=True)), 1e-9)
    beside = np.stack((-ahead[:, 1], ahead[:, 0]), axis=1)
    cap = HALF_CIRCLE[0] * ahead[:, None] + HALF_CIRCLE[1] * beside[:, None]
    rear, fore = centre[:-1, None] - radius[:-1, None, None] * cap, centre[1:, None] + radius[1:, None, None] * cap
    return tuple(np.concatenate((rear, fore), axis=1))


def leaf(x: float, y: float, length: float, width: float, angle: float, tip: float = 0.6) -> Points:
    """The outline of a leaf.

    Args:
        x: place that it grows from.
        y: place that it grows from.
        length: length.
        width: largest width.
        angle: direction in which it grows, radians.
        tip: distance of its widest place from the tip, as a share of its length.
    """
    side = points((0, 0), (0.2, 0.7), (1 - tip, 1.0), (0.8, 0.55), (1, 0))
    upper = curve(side)
    outline = np.concatenate((upper, upper[-2:0:-1] * (1, -1))) * (length, width / 2)
    return Frame(x, y, 1.0, angle).at(outline)
