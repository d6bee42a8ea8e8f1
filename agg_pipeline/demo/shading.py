"""Painting one shape: exact coverage, texture, rounded shading, and the shadow on what lies behind it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from agg_pipeline.demo.geometry import Frame, Pieces
from agg_pipeline.demo.textures import SIZE, SYMMETRIC, sample

Colour = tuple[float, float, float]
"""RGB in 0..255."""
Floats = NDArray[np.float32]

FINE_BELOW = 8000
"""Up to this area, in pixels, a shape's window is sampled 4 x 4 times per pixel, above it 2 x 2 times."""
SHADED_FROM = 5
"""From this size, in pixels, a shape is shaded as a bulge."""
SHADOW_FROM = 8
"""From this size, in pixels, a shape darkens its surroundings."""
COARSE_FROM = 24
"""From this size, in pixels, the light is computed at half the resolution."""


@dataclass(frozen=True, slots=True)
class Material:
    """What a surface is made of.

    Attributes:
        colour: main colour, RGB in 0..255.
        second: second colour; the texture mixes the two.
        texture: name of the texture.
        grain: texture pixels per unit of the drawing.
        contrast: share of the second colour where the texture has its largest value.
        gloss: strength of highlights, 0 to 1.
        fur: how far the edge is frayed, pixels.
    """

    colour: Colour
    second: Colour
    texture: str = "plain"
    grain: float = 300.0
    contrast: float = 0.5
    gloss: float = 0.0
    fur: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """A painted surface of a drawing.

    Attributes:
        part: path of the part that it belongs to, such as "head/left_ear"; "" for none.
        label: name of that part.
        pieces: outlines; the surface is their union.
        material: what it is made of.
        roundness: 1 for a full bulge, less for flat surfaces with rounded edges.
        angle: direction of the texture's grain, radians.
        shade: brightness factor.
    """

    part: str
    label: str
    pieces: Pieces
    material: Material
    roundness: float = 1.0
    angle: float = 0.0
    shade: float = 1.0


@dataclass(frozen=True, slots=True)
class Light:
    """The light of a scene.

    Attributes:
        x: component to the right of the unit vector towards the light.
        y: component downwards.
        z: component towards the viewer.
        ambient: share of undirected light.
    """

    x: float
    y: float
    z: float
    ambient: float


@dataclass(frozen=True, slots=True, eq=False)
class Canvas:
    """The picture while it is painted.

    Attributes:
        pixels: (3, H, W) float32 RGB in 0..255.
        labels: (H, W) int16 number of the shape that is visible at each pixel; 0 for the background.
    """

    pixels: Floats
    labels: NDArray[np.int16]


def smooth(field: Floats, size: int) -> Floats:
    """Smooth a field by a window with falling weights.

    On whole numbers below 4096 all sums are exact in float32, so that every processor gives the same result.

    Args:
        field: (H, W) float32.
        size: 2, 4 or 8; the window is 2 size - 1 pixels wide.

    Returns:
        (H, W) float32.
    """
    once = cv2.boxFilter(field, -1, (size, size), anchor=(size // 2, size // 2), normalize=False)
    twice = cv2.boxFilter(once, -1, (size, size), anchor=(size // 2 - 1, size // 2 - 1), normalize=False)
    return np.asarray(twice * np.float32(1 / size**4), np.float32)


def coverage(pieces: Pieces, left: int, top: int, width: int, height: int) -> NDArray[np.uint8]:
    """How much of each pixel of a window is covered by a union of outlines.

    Args:
        pieces: the outlines.
        left: first column of the window.
        top: first row of the window.
        width: columns of the window.
        height: rows of the window.

    Returns:
        (height, width) uint8, 255 for full coverage.
    """
    samples = 4 if height * width <= FINE_BELOW else 2
    fine = np.zeros((height * samples, width * samples), np.uint8)
    for piece in pieces:
        # OpenCV counts from pixel centres; its coordinates carry 4 fractional bits here.
        corners = np.rint(((piece - (left, top)) * samples - 0.5) * 16).astype(np.int32)
        cv2.fillPoly(fine, [corners], 255, shift=4)
    return np.asarray(cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def paint(canvas: Canvas, shape: Shape, outline: Pieces, frame: Frame, light: Light, label: int, owner: int) -> None:
    """Paint a shape over the canvas.

    Args:
        canvas: the canvas.
        shape: the shape.
        outline: its pieces, placed in the canvas.
        frame: place of its drawing.
        light: light of the scene.
        label: number of the shape, written where at least half of a pixel is covered.
        owner: smallest label of the same drawing; the shape darkens that drawing around itself. 0 to darken nothing.
    """
    corners = np.concatenate(outline)
    (low_x, low_y), (high_x, high_y) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    rows, cols = canvas.labels.shape
    extent = min(high_x - low_x, high_y - low_y)
    pad = 7 if extent > COARSE_FROM else 3
    left, top = max(0, math.floor(low_x) - pad), max(0, math.floor(low_y) - pad)
    right, bottom = min(cols, math.ceil(high_x) + pad), min(rows, math.ceil(high_y) + pad)
    if right - left < 2 or bottom - top < 2:
        return
    cover = coverage(outline, left, top, right - left, bottom - top)
    centre = (round((low_x + high_x) / 2), round((low_y + high_y) / 2))
    grain = _texture(shape, frame, left - centre[0], top - centre[1], cover.shape)
    if shape.material.fur:
        cover = _fray(cover, grain, shape.material.fur)
    inside = cover >= 128
    if not inside.any():
        return
    pixels, labels = canvas.pixels[:, top:bottom, left:right], canvas.labels[top:bottom, left:right]
    share = cover.astype(np.float32) * np.float32(1 / 255)
    keep = 1 - share
    if owner and extent > SHADOW_FROM:
        shadow = smooth(cover.astype(np.float32), pad + 1)
        shadow *= labels >= owner
        keep *= 1 - shadow * np.float32(0.5 / 255)
    bright, highlight = _light(shape, cover, light, extent)
    bright *= share
    colour, second = _planes(shape.material.colour), _planes(shape.material.second)
    surface = grain * ((second - colour) * np.float32(shape.material.contrast / 255))
    surface += colour
    surface *= bright
    if highlight is not None:
        surface += highlight * share
    pixels *= keep
    pixels += surface
    np.putmask(labels, inside, label)


def cast_shadow(canvas: Canvas, outlines: list[Pieces], foot: float, light: Light, strength: float) -> None:
    """Darken the ground where a drawing hides the light; the shadow is the drawing's outline, laid down.

    Args:
        canvas: the canvas.
        outlines: outlines of the drawing's shapes, placed in the canvas.
        foot: row on which the drawing stands.
        light: light of the scene.
        strength: darkness of the shadow, 0 to 1.
    """
    rows, cols = canvas.labels.shape
    flat = np.zeros((rows, cols), np.uint8)
    for outline in outlines:
        for piece in outline:
            rise = foot - piece[:, 1]
            laid = np.stack((piece[:, 0] - light.x * rise, foot - 0.16 * rise), axis=1)
            cv2.fillPoly(flat, [np.rint(laid * 16).astype(np.int32)], 255, shift=4)
    left, top, width, height = cv2.boundingRect(flat)
    if width == 0:
        return
    window = np.s_[max(0, top - 8) : top + height + 8, max(0, left - 8) : left + width + 8]
    soft = smooth(flat[window].astype(np.float32), 8)
    canvas.pixels[:, *window] *= 1 - soft * np.float32(strength / 255)


def _planes(colour: Colour) -> Floats:
    return np.array(colour, np.float32)[:, None, None]


def _texture(shape: Shape, frame: Frame, left: int, top: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    """The material's texture, turned with the drawing; (left, top) is the window's place relative to the shape."""
    step = shape.material.grain / frame.scale
    angle = frame.angle + (-shape.angle if frame.mirrored else shape.angle)
    along, across = round(math.cos(angle) * step * 256), round(math.sin(angle) * step * 256)
    x = np.arange(left, left + size[1], dtype=np.int32)
    y = np.arange(top, top + size[0], dtype=np.int32)[:, None]
    if shape.material.texture in SYMMETRIC:
        offset = SIZE // 2 * 256
    else:  # neighbours of one material should not repeat each other
        offset = (len(shape.part) * 97 + len(shape.pieces) * 31 + round(shape.angle * 40)) * 1024
    col, row = x * along + (y * across + offset), y * along - (x * across - offset)
    return sample(shape.material.texture, col, row, step)


def _fray(cover: NDArray[np.uint8], grain: NDArray[np.uint8], fur: float) -> NDArray[np.uint8]:
    """Let the texture eat into the edge and grow over it, by about ``fur`` pixels."""
    soft = smooth(cover.astype(np.float32), 4)
    frayed = (soft - 128) * np.float32(4 / fur) + grain
    frayed[soft < 30] = 0
    frayed[soft > 225] = 255
    return np.asarray(np.clip(frayed, 0, 255), np.uint8)


def _light(shape: Shape, cover: NDArray[np.uint8], light: Light, extent: float) -> tuple[Floats, Floats | None]:
    """Brightness factor and highlight (0..255) of a surface whose height follows the distance from its edge."""
    rows, cols = cover.shape
    if extent < SHADED_FROM:
        return np.full(cover.shape, shape.shade, np.float32), None
    coarse = extent > COARSE_FROM  # wide surfaces are smooth enough for half the resolution
    if coarse:
        cover = np.asarray(
            cv2.resize(cover[: rows // 2 * 2, : cols // 2 * 2], (cols // 2, rows // 2), interpolation=cv2.INTER_AREA)
        )
    # Squares of true distances are whole numbers, which makes them the same with every OpenCV build.
    distance = cv2.distanceTransform((cover >= 128).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    distance = np.minimum(distance, 4000)  # it is endless where the shape fills the whole picture
    distance = np.sqrt(np.rint(distance * distance))
    radius = max(1.5, float(distance.max()) * shape.roundness)
    t = np.minimum(distance * np.float32(1 / radius), np.float32(1))
    height = np.floor(np.sqrt(t * (2 - t)) * np.float32(min(radius * 32, 4095)))
    height = smooth(height, 2 if radius < 4 else 4 if radius < 12 else 8)  # takes away the ridges of the distance
    slope_x, slope_y = np.zeros_like(height), np.zeros_like(height)
    np.subtract(height[:, 2:], height[:, :-2], out=slope_x[:, 1:-1])
    np.subtract(height[2:], height[:-2], out=slope_y[1:-1])
    slope_x *= np.float32(1 / 64)
    slope_y *= np.float32(1 / 64)
    reach = 1 / np.sqrt(slope_x * slope_x + slope_y * slope_y + 1)
    sideways = slope_x * np.float32(light.x) + slope_y * np.float32(light.y)
    bright = np.maximum((np.float32(light.z) - sideways) * reach, 0)
    bright *= np.float32(shape.shade * (1 - light.ambient) / light.z)
    bright += np.float32(shape.shade * light.ambient)
    # Surfaces get less of the sky's light towards their lower end.
    bright *= np.linspace(1.06, 0.9, len(bright)).astype(np.float32)[:, None]
    if coarse:
        bright = _doubled(bright * np.float32(100), rows, cols) * np.float32(0.01)
    if not shape.material.gloss:
        return bright, None
    half_z = light.z + 1
    norm = math.sqrt(light.x**2 + light.y**2 + half_z**2)
    glint = np.maximum((np.float32(half_z / norm) - sideways * np.float32(1 / norm)) * reach, 0)
    for _ in range(4):
        glint *= glint
    glint *= np.float32(140 * shape.material.gloss)
    return bright, _doubled(glint, rows, cols) if coarse else glint


def _doubled(field: Floats, rows: int, cols: int) -> Floats:
    """A field at twice the resolution; it passes through 8 bits, where OpenCV's interpolation is bit-exact."""
    bits = np.minimum(field + np.float32(0.5), 255).astype(np.uint8)
    return np.asarray(cv2.resize(bits, (cols, rows), interpolation=cv2.INTER_LINEAR_EXACT), np.float32)
