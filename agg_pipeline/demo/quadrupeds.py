"""Quadrupeds seen from the side, walking or standing."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from agg_pipeline.demo.drawing import Drawing, chance, hsv, mixed, pick, scaled
from agg_pipeline.demo.fur import DARK, coat_of, eye
from agg_pipeline.demo.geometry import Frame, Pieces, closed, ellipse, leaf, points, tube
from agg_pipeline.demo.shading import Material, Shape


@dataclass(frozen=True, slots=True)
class Breed:
    """Proportions and looks of a kind of quadruped; lengths are relative to the height at the withers.

    Attributes:
        leg: length of the legs.
        body: length of the body.
        depth: depth of the body.
        neck: length of the neck.
        neck_angle: angle of the neck above the horizon, radians.
        head: radius of the head.
        muzzle: length of the muzzle.
        limb: half thickness of the legs.
        ears: shape of the ears.
        tail: shape of the tail.
        foot: paw or hoof.
        textures: textures of the coat; all entries have the same probability.
        extras: mane, horns, udder.
        size: usual size relative to other objects.
    """

    leg: float
    body: float
    depth: float
    neck: float
    neck_angle: float
    head: float
    muzzle: float
    limb: float
    ears: str
    tail: str
    foot: str
    textures: tuple[str, ...]
    extras: tuple[str, ...] = ()
    size: float = 1.0


_CAT_COATS = ("tabby", "fur", "patches", "stripes")
_COW_COATS = ("patches", "fur")
_BIG_CAT_COATS = ("stripes", "spots", "fur")
# In this order: cat, dog, fox, horse, cow, sheep, deer, giraffe, big cat.
BREEDS = (
    Breed(0.48, 1.2, 0.44, 0.2, 0.75, 0.2, 0.1, 0.075, "pointed", "long", "paw", _CAT_COATS),
    Breed(0.55, 1.05, 0.42, 0.32, 0.9, 0.17, 0.22, 0.075, "floppy", "raised", "paw", ("fur", "patches", "speckle")),
    Breed(0.5, 1.1, 0.4, 0.3, 0.8, 0.17, 0.22, 0.07, "pointed", "bushy", "paw", ("fur", "fur", "tabby")),
    Breed(0.58, 1.05, 0.44, 0.52, 0.85, 0.15, 0.34, 0.07, "small", "hair", "hoof", ("fur", "patches"), ("mane",), 1.25),
    Breed(0.46, 1.25, 0.52, 0.25, 0.4, 0.18, 0.27, 0.08, "side", "tufted", "hoof", _COW_COATS, ("horns", "udder"), 1.2),
    Breed(0.42, 1.1, 0.56, 0.2, 0.6, 0.17, 0.18, 0.065, "side", "stub", "hoof", ("wool",)),
    Breed(0.6, 0.95, 0.4, 0.5, 1.0, 0.14, 0.22, 0.055, "side", "stub", "hoof", ("spots", "fur"), ("horns",), 1.1),
    Breed(0.55, 1.0, 0.42, 1.1, 1.1, 0.13, 0.2, 0.06, "small", "tufted", "hoof", ("spots",), ("mane",), 1.35),
    Breed(0.46, 1.3, 0.44, 0.24, 0.45, 0.21, 0.16, 0.09, "round", "long", "paw", _BIG_CAT_COATS, (), 1.2),
)


def _leg(
    breed: Breed, hind: bool, x: float, stride: float, coat: Material, sock: Material, name: str, shade: float
) -> list[Shape]:
    top, foot_y = -breed.leg - breed.depth * 0.45, -0.035 - max(0.0, stride) * 0.35
    foot_x = x + stride
    if hind:
        joints = ((x, top), (x + 0.09, -breed.leg * 0.72), (x + stride * 0.6 - 0.07, -breed.leg * 0.36))
    else:
        joints = ((x, top), (x - 0.04, -breed.leg * 0.85), (x + stride * 0.45 + 0.03, -breed.leg * 0.42))
    r = breed.limb
    radii = (r * (2.0 if hind else 1.6), r * 1.3, r * 0.72, r * 0.66)
    part, label = f"leg_{'hind' if hind else 'front'}_{name}", f"{name} {'hind' if hind else 'front'} leg"
    limb = tube((*joints, (foot_x - 0.01, foot_y - 0.02)), radii)
    if breed.foot == "paw":
        foot: Pieces = (ellipse(foot_x + r * 0.45, -0.04 + foot_y + 0.035, r * 1.25, r * 0.62, 0.05),)
    else:
        h = foot_y + 0.035
        foot = (
            points((foot_x - r * 0.75, h - r), (foot_x + r * 0.6, h - r), (foot_x + r * 1.1, h), (foot_x - r * 0.9, h)),
        )
    return [
        Shape(part, label, limb, coat, 0.9, math.pi / 2, shade),
        Shape(f"{part}/{breed.foot}", f"{name} {'hind' if hind else 'front'} {breed.foot}", foot, sock, shade=shade),
    ]


def _tail(rng: np.random.Generator, breed: Breed, x: float, y: float, coat: Material, dark: Material) -> list[Shape]:
    wag, r = rng.uniform(-0.12, 0.12), breed.limb
    path: tuple[tuple[float, float], ...]
    if breed.tail == "long":
        path = ((x + 0.05, y), (x - 0.2, y + 0.12), (x - 0.36 + wag, y + 0.05), (x - 0.46 + wag * 2, y - 0.26))
        return [
            Shape("tail", "tail", tube(path, (r * 0.8, r * 0.6, r * 0.55, r * 0.45)), coat),
            Shape("tail/tip", "tail tip", tube(path[2:], (r * 0.3, r * 0.5), 2)[1:], dark),
        ]
    if breed.tail == "raised":
        path = ((x + 0.06, y), (x - 0.12, y - 0.08), (x - 0.2 + wag, y - 0.32))
        return [Shape("tail", "tail", tube(path, (r * 0.8, r * 0.6, r * 0.3)), coat)]
    if breed.tail == "bushy":
        path = ((x + 0.05, y), (x - 0.2, y + 0.04), (x - 0.42, y + 0.2 + wag), (x - 0.55, y + 0.28 + wag))
        pale = replace(coat, colour=(236, 228, 214), second=(200, 190, 176), texture="fur", contrast=0.6)
        return [
            Shape("tail", "tail", tube(path, (r * 0.7, r * 1.3, r * 1.6, r * 0.5)), coat),
            Shape("tail/tip", "tail tip", tube(path[2:], (r * 1.3, r * 0.3)), pale),
        ]
    if breed.tail == "stub":
        return [Shape("tail", "tail", (ellipse(x - 0.03, y + 0.05, 0.05, 0.09, 0.5),), coat)]
    path = ((x + 0.04, y), (x - 0.08, y + 0.12), (x - 0.1 + wag, y + 0.36), (x - 0.07 + wag, y + 0.52))
    if breed.tail == "hair":
        return [Shape("tail", "tail", tube(path, (r * 0.6, r * 1.1, r * 1.3, r * 0.4)), dark, angle=1.5)]
    tuft = tube(path[2:], (r * 0.3, r * 0.7), 3)[1:]
    return [
        Shape("tail", "tail", tube(path, (r * 0.4, r * 0.32, r * 0.3, r * 0.3)), coat),
        Shape("tail/tuft", "tail tuft", tuft, dark),
    ]


def _ear(kind: str, s: float) -> Pieces:
    """An ear on top of a head of radius ``s`` that looks to the right."""
    if kind == "pointed":
        return (points((-0.75 * s, -0.5 * s), (-0.5 * s, -1.65 * s), (0.15 * s, -0.8 * s)),)
    if kind == "floppy":
        return (
            closed(
                (-0.3 * s, -0.85 * s), (-0.95 * s, -0.4 * s), (-0.9 * s, 0.75 * s), (-0.3 * s, 0.7 * s), (0, -0.4 * s)
            ),
        )
    if kind == "round":
        return (ellipse(-0.55 * s, -0.95 * s, 0.42 * s, 0.42 * s),)
    if kind == "side":
        return (leaf(-0.45 * s, -0.55 * s, 1.05 * s, 0.55 * s, math.pi * 0.97),)
    return (leaf(-0.35 * s, -0.6 * s, 0.95 * s, 0.45 * s, -math.pi * 0.6),)


def _head(
    rng: np.random.Generator, breed: Breed, frame: Frame, coat: Material, dark: Material, near: str, far: str
) -> list[Shape]:
    s, m = breed.head, breed.muzzle
    inner = Material((196, 138, 128), (150, 92, 86), "speckle", gloss=0.1)
    snout = replace(coat, colour=mixed(coat.colour, (235, 225, 210), rng.uniform(0.1, 0.6)), texture="fur")
    down = rng.uniform(0.12, 0.3)
    end = (0.55 * s + m, (0.25 + down) * s)
    shapes = []
    if "horns" in breed.extras:
        horn = Material((206, 192, 160), (120, 100, 74), "tabby", 500.0, 0.6, 0.3)
        curl = rng.uniform(0.1, 0.8)
        for side, dx in ((far, -0.1), (near, 0.12)):
            path = ((dx * s, -0.7 * s), (dx * s - 0.5 * s * curl, -1.5 * s), (dx * s + 0.3 * s, -2.3 * s))
            horned = tube(path, (0.22 * s, 0.17 * s, 0.05 * s))
            shapes.append(Shape(f"head/horn_{side}", f"{side} horn", frame.all(*horned), horn))
    shapes.append(
        Shape(f"head/ear_{far}", f"{far} ear", Frame(0.3 * s, 0, 0.95).all(*_ear(breed.ears, s)), coat, shade=0.7)
    )
    shapes[-1] = replace(shapes[-1], pieces=frame.all(*shapes[-1].pieces))
    skull = (*tube(((-0.15 * s, 0.05 * s), (0.35 * s, 0.1 * s)), (s * 0.95, s * 0.8), 3),)
    face = tube(((0.2 * s, 0.2 * s), (0.5 * s + m * 0.4, 0.22 * s), end), (0.72 * s, 0.6 * s, 0.46 * s))
    shapes += [
        Shape("head", "head", frame.all(*skull, *face), coat, 0.9, frame.angle),
        Shape(
            "head/muzzle", "muzzle", frame.all(*tube((((0.5 * s + m * 0.5), 0.3 * s), end), (0.5 * s, 0.44 * s))), snout
        ),
        Shape(
            "head/muzzle/nose",
            "nose",
            frame.all(ellipse(end[0] + 0.3 * s, end[1] - 0.2 * s, 0.2 * s, 0.17 * s, 0.4)),
            Material(DARK, (60, 50, 50), gloss=0.8),
        ),
        Shape(
            "head/muzzle/mouth",
            "mouth",
            frame.all(
                *tube(
                    (
                        (end[0] + 0.35 * s, end[1] + 0.16 * s),
                        (end[0] - 0.05 * s, end[1] + 0.22 * s),
                        (end[0] - 0.4 * s, end[1] + 0.12 * s),
                    ),
                    (0.05 * s,) * 3,
                )
            ),
            Material(scaled(coat.second, 0.5), DARK),
        ),
    ]
    iris = pick(rng, ((150, 110, 40), (90, 60, 30), (110, 140, 70), (60, 40, 30)))
    shapes += eye("head/eye", "eye", 0.4 * s, -0.12 * s, 0.2 * s, iris, frame)
    ear = _ear(breed.ears, s)
    shapes.append(Shape(f"head/ear_{near}", f"{near} ear", frame.all(*ear), coat))
    if breed.ears in ("pointed", "round"):
        middle = ear[0].mean(axis=0)
        lining = ear[0] * 0.55 + middle * 0.45
        shapes.append(Shape(f"head/ear_{near}/inner", f"inside of {near} ear", frame.all(lining), inner, 0.6))
    if "mane" in breed.extras:
        path = ((0.1 * s, -0.95 * s), (-0.6 * s, -0.9 * s), (-1.1 * s, -0.2 * s))
        shapes.append(Shape("head/forelock", "forelock", frame.all(*tube(path, (0.1 * s, 0.3 * s, 0.2 * s))), dark))
    return shapes


def quadruped(rng: np.random.Generator, mirrored: bool) -> Drawing:
    """A walking or standing quadruped that looks to the right.

    Args:
        rng: source of the random choices.
        mirrored: whether the drawing will be mirrored; its near side is then the left one.
    """
    breed = pick(rng, BREEDS)
    vary = rng.uniform(0.88, 1.14, 6)
    breed = replace(
        breed,
        leg=breed.leg * vary[0],
        body=breed.body * vary[1],
        depth=breed.depth * vary[2],
        neck=breed.neck * vary[3],
        head=breed.head * vary[4],
        limb=breed.limb * vary[5],
    )
    near, far = ("left", "right") if mirrored else ("right", "left")
    coat = coat_of(rng, pick(rng, breed.textures))
    dark = replace(coat, colour=scaled(coat.second, 0.8), second=DARK, texture="fur", contrast=0.6)
    legs = coat if chance(rng, 0.6) else replace(coat, colour=mixed(coat.colour, coat.second, 0.6))
    if coat.texture == "wool":
        legs = replace(legs, texture="fur", colour=scaled(coat.second, 0.6), fur=0.0)
    sock = (
        legs if breed.foot == "hoof" else replace(legs, colour=mixed(legs.colour, (240, 234, 224), rng.uniform(0, 0.8)))
    )
    if breed.foot == "hoof":
        sock = Material((62, 52, 44), (30, 26, 22), gloss=0.3)
    half, back = breed.body * 0.5, -breed.leg - breed.depth * 0.5
    stride = rng.uniform(0.0, 0.2) * pick(rng, (-1, 1))
    swing = (stride, -stride, -stride * rng.uniform(0.6, 1.2), stride * rng.uniform(0.6, 1.2))
    shapes = _tail(rng, breed, -half - breed.depth * 0.22, back - breed.depth * 0.2, coat, dark)
    shapes += _leg(breed, True, -half + 0.1, swing[0], legs, sock, far, 0.66)
    shapes += _leg(breed, False, half - 0.0, swing[1], legs, sock, far, 0.66)
    turn = rng.uniform(-0.35, 0.25)
    angle = breed.neck_angle + turn
    root = (half * 0.88, back - breed.depth * 0.08)
    crown = (root[0] + math.cos(angle) * (breed.neck + 0.14), root[1] - math.sin(angle) * (breed.neck + 0.14))
    collar_at = (root[0] * 0.35 + crown[0] * 0.65, root[1] * 0.35 + crown[1] * 0.65)
    torso = tube(
        ((-half, back), (-half * 0.45, back + 0.02), (half * 0.3, back + breed.depth * 0.06), (half * 0.92, back)),
        (breed.depth * 0.5, breed.depth * 0.47, breed.depth * 0.52, breed.depth * 0.46),
    )
    shapes.append(Shape("body", "body", torso, coat, 0.9))
    if "udder" in breed.extras and chance(rng, 0.6):
        pink = Material((222, 164, 150), (190, 120, 110))
        shapes.append(Shape("body/udder", "udder", (ellipse(-half * 0.6, -breed.leg + 0.02, 0.13, 0.09),), pink))
    shapes += _leg(breed, True, -half, swing[2], legs, sock, near, 1.0)
    shapes += _leg(breed, False, half * 0.84, swing[3], legs, sock, near, 1.0)
    neck = tube(
        (root, (root[0] * 0.55 + crown[0] * 0.45, root[1] * 0.6 + crown[1] * 0.4), crown),
        (breed.depth * 0.4, breed.head * 0.95, breed.head * 0.8),
    )
    shapes.append(Shape("neck", "neck", neck, coat, 0.9, -angle))
    if "mane" in breed.extras:
        lift = (-math.sin(angle) * breed.head * 0.8, -math.cos(angle) * breed.head * 0.8)
        path = [
            (crown[0] + lift[0], crown[1] + lift[1]),
            ((root[0] + crown[0]) / 2 + lift[0], (root[1] + crown[1]) / 2 + lift[1]),
            (root[0] + lift[0] * 1.3, root[1] + lift[1] * 1.5),
        ]
        shapes.append(Shape("neck/mane", "mane", tube(path, (0.06, 0.1, 0.05)), dark, angle=1.0))
    if breed.foot == "paw" and chance(rng, 0.5):
        strap = Material(hsv(rng.random(), 0.8, 0.7), hsv(rng.random(), 0.4, 0.9), "bands", 700.0, 0.6, 0.4)
        across = (math.sin(angle) * breed.head * 0.9, math.cos(angle) * breed.head * 0.9)
        path = [
            (collar_at[0] - across[0], collar_at[1] - across[1]),
            (collar_at[0] + 0.02, collar_at[1] + 0.02),
            (collar_at[0] + across[0], collar_at[1] + across[1]),
        ]
        shapes.append(Shape("neck/collar", "collar", tube(path, (0.035, 0.04, 0.035)), strap))
    tilt = rng.uniform(-0.2, 0.35) + (0.35 if breed.muzzle > 0.25 else 0.0)
    shapes += _head(rng, breed, Frame(crown[0], crown[1], 1.0, tilt), coat, dark, near, far)
    return Drawing("animal", tuple(shapes), breed.size)
