"""Person-like figures seen from the front, standing, walking or waving."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from agg_pipeline.demo.drawing import Drawing, chance, hsv, jittered, mixed, pick, scaled
from agg_pipeline.demo.faces import back_hair, cloth, head_of
from agg_pipeline.demo.geometry import Frame, Pieces, closed, ellipse, points, rounded, tube
from agg_pipeline.demo.shading import Colour, Material, Shape

SKINS: tuple[Colour, ...] = (
    (244, 208, 182),
    (228, 184, 150),
    (200, 150, 112),
    (166, 116, 80),
    (122, 80, 54),
    (84, 56, 42),
)
"""Colours of the skin."""
HAIRS: tuple[Colour, ...] = (
    (38, 28, 24),
    (88, 56, 34),
    (150, 104, 56),
    (206, 170, 104),
    (140, 60, 30),
    (150, 148, 146),
)
"""Colours of the hair."""


def _joints(x: float, y: float, upper: float, lower: float, a: float, b: float) -> list[tuple[float, float]]:
    """Root, joint and end of a limb of two bones; angles from straight down, positive towards +x."""
    elbow = (x + upper * math.sin(a), y + upper * math.cos(a))
    return [(x, y), elbow, (elbow[0] + lower * math.sin(b), elbow[1] + lower * math.cos(b))]


def _limb(joints: list[tuple[float, float]], radii: tuple[float, float, float]) -> Pieces:
    """A bent limb: two straight tapered bones."""
    return (*tube(joints[:2], radii[:2], 3), *tube(joints[1:], radii[1:], 3))


def _toward(a: tuple[float, float], b: tuple[float, float], share: float) -> tuple[float, float]:
    return a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share


def figure(rng: np.random.Generator, mirrored: bool) -> Drawing:
    """A clothed figure with two-bone arms and legs in a random pose.

    Args:
        rng: source of the random choices.
        mirrored: whether the drawing will be mirrored, which exchanges the names of its sides.
    """
    sides = ("left", "right") if mirrored else ("right", "left")  # of the figure, by side of the picture
    tone = jittered(rng, pick(rng, SKINS), 0.06)
    skin = Material(tone, mixed(tone, (190, 90, 70), 0.35), "cloud", 500.0, 0.5, 0.12)
    mane = jittered(rng, pick(rng, HAIRS))
    hair = Material(mane, scaled(mane, 0.45), "fur", 500.0, 0.9, 0.25, 0.7)
    shirt, trousers = cloth(rng), cloth(rng)
    leather = jittered(rng, pick(rng, ((60, 40, 28), (30, 30, 32), (210, 205, 198), (150, 40, 36), (120, 84, 50))))
    shoe = Material(leather, scaled(leather, 0.5), "speckle", 400.0, 0.4, 0.4)
    child = rng.uniform(0.0, 1.0)
    s, wide = 0.1 + 0.045 * child, rng.uniform(0.13, 0.19)
    leg, trunk = 0.47 - 0.08 * child, 0.31 - 0.03 * child
    hip, chin = -leg * 0.98, -leg - trunk
    lean = rng.uniform(-0.06, 0.06)
    shoulder = chin + 0.03
    skirt, short, sleeves = chance(rng, 0.2), chance(rng, 0.35), rng.uniform(0.35, 1.0)
    head = Frame(lean * 1.3, chin - s * 0.82, 1.0, rng.uniform(-0.2, 0.2))
    style = pick(rng, ("short", "long", "long", "bun", "bald", "curly"))
    shapes = [back_hair(head, s, hair)] if style == "long" else []
    gait = rng.uniform(0.0, 0.35)
    for name, sign in zip(sides, (-1, 1), strict=True):
        spread = sign * (0.05 + gait * rng.uniform(0.3, 1.0))
        joints = _joints(sign * wide * 0.52, hip, leg * 0.5, leg * 0.47, spread, spread * rng.uniform(-0.2, 1.0))
        drop = -0.03 - joints[2][1]
        joints = [(x, y + drop * share) for (x, y), share in zip(joints, (0.0, 0.5, 1.0), strict=True)]
        part, label = f"leg_{name}", f"{name} leg"
        radii = (wide * 0.5, 0.06, 0.044)
        bare = short or skirt
        shapes.append(Shape(part, label, _limb(joints, radii), skin if bare else trousers, 0.9, math.pi / 2))
        if bare and not skirt:
            knee = _toward(joints[0], joints[1], 0.9)
            cut = tube((joints[0], knee), (wide * 0.56, 0.085), 3)
            shapes.append(Shape(f"{part}/trouser_leg", f"{name} trouser leg", cut, trousers, 0.8, math.pi / 2))
        foot = joints[2]
        toe = (
            closed(
                (foot[0] - 0.05, -0.075),
                (foot[0] + 0.05, -0.075),
                (foot[0] + 0.055 + sign * 0.045, -0.005),
                (foot[0] - 0.055 + sign * 0.045, -0.005),
            ),
        )
        shapes.append(Shape(f"{part}/shoe", f"{name} shoe", toe, shoe))
    for name, sign in zip(sides, (-1, 1), strict=True):
        pose = pick(rng, ("down", "down", "out", "wave", "hip"))
        swing = {"down": (0.15, 0.1), "out": (1.2, 1.4), "wave": (1.3, 2.7), "hip": (0.8, -0.6)}[pose]
        a, b = (sign * (v + rng.uniform(-0.12, 0.2)) for v in swing)
        joints = _joints(sign * wide * 0.88 + lean, shoulder + 0.045, trunk * 0.52, trunk * 0.5, a, b)
        part, label = f"arm_{name}", f"{name} arm"
        shapes.append(Shape(part, label, _limb(joints, (0.056, 0.044, 0.034)), skin, 0.9, math.pi / 2 - a))
        cuff = _toward(joints[0], joints[1], sleeves * 1.5) if sleeves < 0.66 else joints[1]
        sleeve = tube((joints[0], cuff), (0.066, 0.056), 3)
        if sleeves >= 0.66:
            sleeve = (*sleeve, *tube((joints[1], _toward(joints[1], joints[2], 0.9)), (0.054, 0.045), 3))
        shapes.append(Shape(f"{part}/sleeve", f"{name} sleeve", sleeve, shirt, 0.9, math.pi / 2 - a))
        hand = (ellipse(joints[2][0] + 0.02 * math.sin(b), joints[2][1] + 0.02 * math.cos(b), 0.036, 0.048, -b, 16),)
        shapes.append(Shape(f"{part}/hand", f"{name} hand", hand, skin))
    shapes.append(
        Shape("neck", "neck", tube(((lean, chin - 0.05), (lean, chin + 0.07)), (0.045, 0.055), 2), skin, shade=0.85)
    )
    waist = wide * rng.uniform(0.75, 1.0)
    torso = closed(
        (-wide + lean, shoulder + 0.03),
        (-0.05 + lean, chin + 0.005),
        (0.05 + lean, chin + 0.005),
        (wide + lean, shoulder + 0.03),
        (waist, hip * 1.25),
        (wide * 0.95, hip + 0.02),
        (-wide * 0.95, hip + 0.02),
        (-waist, hip * 1.25),
    )
    shapes.append(Shape("torso", "torso", (torso,), shirt, 0.8, math.pi / 2))
    lower = points(
        (-wide * 0.95, hip - 0.03),
        (wide * 0.95, hip - 0.03),
        (wide * 0.99, hip + 0.04),
        (0.02, hip + 0.1),
        (-0.02, hip + 0.1),
        (-wide * 0.99, hip + 0.04),
    )
    if skirt:
        lower = points((-waist, hip - 0.06), (waist, hip - 0.06), (wide * 1.6, hip * 0.45), (-wide * 1.6, hip * 0.45))
    shapes.append(
        Shape(
            "skirt" if skirt else "hips",
            "skirt" if skirt else "hips",
            (rounded(lower, 0.04),),
            trousers,
            0.45,
            math.pi / 2,
        )
    )
    if chance(rng, 0.5):
        belt = rounded(
            points(
                (-wide * 0.98, hip - 0.05),
                (wide * 0.98, hip - 0.05),
                (wide * 0.98, hip - 0.015),
                (-wide * 0.98, hip - 0.015),
            ),
            0.01,
        )
        shapes.append(Shape("torso/belt", "belt", (belt,), shoe, 0.6))
    if chance(rng, 0.5):
        pocket = rounded(
            points(
                (wide * 0.2, shoulder + 0.1),
                (wide * 0.65, shoulder + 0.1),
                (wide * 0.65, shoulder + 0.18),
                (wide * 0.2, shoulder + 0.18),
            ),
            0.01,
        )
        shapes.append(
            Shape("torso/pocket", "pocket", (pocket,), replace(shirt, colour=scaled(shirt.colour, 0.75)), 0.3)
        )
    if chance(rng, 0.3):
        wool = Material(hsv(rng.random(), 0.6, 0.7), hsv(rng.random(), 0.4, 0.9), "bands", 500.0, 0.8)
        scarf = (
            *tube(((lean - 0.08, chin + 0.02), (lean, chin + 0.045), (lean + 0.08, chin + 0.02)), (0.03, 0.035, 0.03)),
            *tube(((lean + 0.04, chin + 0.04), (lean + 0.06, chin + 0.2)), (0.028, 0.034), 2),
        )
        shapes.append(Shape("scarf", "scarf", scarf, wool, angle=0.3))
    shapes += head_of(rng, head, s, skin, hair, sides, style)
    return Drawing("figure", tuple(shapes), 1.05)
