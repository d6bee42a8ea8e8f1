"""Quadrupeds that sit and face the viewer, and birds."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from agg_pipeline.demo.drawing import Drawing, chance, hsv, mixed, pick, scaled
from agg_pipeline.demo.fur import DARK, coat_of, eye
from agg_pipeline.demo.geometry import Frame, closed, ellipse, leaf, points, tube
from agg_pipeline.demo.shading import Material, Shape


def sitting(rng: np.random.Generator, mirrored: bool) -> Drawing:
    """A cat, dog or bear that sits and faces the viewer.

    Args:
        rng: source of the random choices.
        mirrored: whether the drawing will be mirrored, which exchanges the names of its sides.
    """
    left, right = ("left", "right") if mirrored else ("right", "left")  # of the animal, by side of the picture
    coat = coat_of(rng, pick(rng, ("fur", "tabby", "patches", "stripes")))
    pale = replace(coat, colour=mixed(coat.colour, (240, 232, 220), rng.uniform(0.3, 0.9)), texture="fur", contrast=0.4)
    dark = replace(coat, colour=scaled(coat.second, 0.8), texture="fur")
    s, lean = rng.uniform(0.2, 0.26), rng.uniform(-0.06, 0.06)
    wide = rng.uniform(0.26, 0.36)
    side = pick(rng, (-1, 1))
    shapes = [
        Shape(
            "tail",
            "tail",
            tube(
                (
                    (side * wide * 0.6, -0.08),
                    (side * (wide + 0.18), -0.1),
                    (side * (wide + 0.26), -0.34),
                    (side * (wide + 0.12), -0.48),
                ),
                (0.07, 0.07, 0.06, 0.03),
            ),
            coat,
        ),
        Shape(
            "body",
            "body",
            (
                closed(
                    (-wide, -0.1),
                    (-wide * 0.95, -0.38),
                    (-wide * 0.5 + lean, -0.75),
                    (wide * 0.5 + lean, -0.75),
                    (wide * 0.95, -0.38),
                    (wide, -0.1),
                    (0, 0),
                ),
            ),
            coat,
            0.9,
            math.pi / 2,
        ),
        Shape(
            "body/chest",
            "chest",
            (
                closed(
                    (-wide * 0.3 + lean, -0.7),
                    (wide * 0.3 + lean, -0.7),
                    (wide * 0.36, -0.4),
                    (0, -0.22),
                    (-wide * 0.36, -0.4),
                ),
            ),
            pale,
            0.7,
            math.pi / 2,
        ),
    ]
    for name, sign in ((left, -1), (right, 1)):
        haunch = (ellipse(sign * wide * 0.82, -0.17, wide * 0.42, 0.18, sign * 0.3),)
        shapes.append(Shape(f"leg_hind_{name}", f"{name} hind leg", haunch, coat))
        shapes.append(
            Shape(f"leg_hind_{name}/paw", f"{name} hind paw", (ellipse(sign * wide * 0.95, -0.04, 0.13, 0.05),), pale)
        )
    for name, sign in ((left, -1), (right, 1)):
        raised = chance(rng, 0.12)
        foot = (sign * wide * (0.7 if raised else 0.38), -0.36 if raised else -0.05)
        path = ((sign * wide * 0.42 + lean, -0.6), (sign * wide * 0.5, -0.32), foot)
        shapes.append(
            Shape(f"leg_front_{name}", f"{name} front leg", tube(path, (0.09, 0.075, 0.06)), coat, angle=1.57)
        )
        shapes.append(
            Shape(f"leg_front_{name}/paw", f"{name} front paw", (ellipse(foot[0], foot[1], 0.085, 0.055),), pale)
        )
    frame = Frame(lean * 1.5, -0.72 - s * 0.7, 1.0, rng.uniform(-0.25, 0.25))
    kind = pick(rng, ("pointed", "floppy", "round"))
    lining = Material((200, 142, 134), (150, 96, 92), "speckle")
    ears: list[Shape] = []
    for name, sign in ((left, -1), (right, 1)):
        if kind == "pointed":
            ear = points((sign * s * 1.0, -0.3 * s), (sign * s * 0.95, -1.55 * s), (sign * s * 0.2, -0.85 * s))
        elif kind == "round":
            ear = ellipse(sign * s * 0.8, -0.8 * s, s * 0.4, s * 0.4)
        else:
            ear = closed(
                (sign * s * 0.55, -0.85 * s),
                (sign * s * 1.2, -0.5 * s),
                (sign * s * 1.3, 0.6 * s),
                (sign * s * 0.9, 0.5 * s),
            )
        ears.append(Shape(f"head/ear_{name}", f"{name} ear", frame.all(ear), coat if kind != "floppy" else dark))
        if kind != "floppy":
            inside = ear * 0.55 + ear.mean(axis=0) * 0.45
            ears.append(Shape(f"head/ear_{name}/inner", f"inside of {name} ear", frame.all(inside), lining, 0.6))
    skull = Shape("head", "head", frame.all(ellipse(0, 0, s * 1.12, s)), coat, 0.95, math.pi / 2)
    shapes += [skull, *ears] if kind == "floppy" else [*ears, skull]
    iris = pick(rng, ((170, 150, 50), (96, 140, 80), (110, 70, 34), (90, 140, 170)))
    for name, sign in ((left, -1), (right, 1)):
        shapes += eye(f"head/eye_{name}", f"{name} eye", sign * s * 0.45, -0.15 * s, s * 0.19, iris, frame)
    long = rng.uniform(0.3, 0.5)
    shapes += [
        Shape(
            "head/muzzle",
            "muzzle",
            frame.all(
                ellipse(-0.2 * s, 0.42 * s, 0.34 * s, long * 0.8 * s),
                ellipse(0.2 * s, 0.42 * s, 0.34 * s, long * 0.8 * s),
            ),
            pale,
        ),
        Shape(
            "head/muzzle/mouth",
            "mouth",
            frame.all(*tube(((-0.26 * s, 0.5 * s), (0, 0.6 * s), (0.26 * s, 0.5 * s)), (0.03 * s,) * 3)),
            Material(DARK, DARK),
        ),
        Shape(
            "head/muzzle/nose",
            "nose",
            frame.all(closed((-0.17 * s, 0.16 * s), (0.17 * s, 0.16 * s), (0, 0.36 * s))),
            Material(pick(rng, (DARK, (190, 110, 104))), DARK, gloss=0.7),
        ),
    ]
    return Drawing("animal", tuple(shapes))


def bird(rng: np.random.Generator, mirrored: bool) -> Drawing:
    """A standing bird that looks to the right.

    Args:
        rng: source of the random choices.
        mirrored: whether the drawing will be mirrored, which exchanges the names of its sides.
    """
    near, far = ("left", "right") if mirrored else ("right", "left")
    hue, plump, leg = rng.random(), rng.uniform(0.26, 0.36), rng.uniform(0.15, 0.5)
    coat = Material(
        hsv(hue, rng.uniform(0.15, 0.8), rng.uniform(0.35, 0.85)),
        hsv(hue + 0.08, 0.5, 0.3),
        "feathers",
        420.0,
        0.5,
        0.05,
        0.7,
    )
    wing = replace(coat, colour=hsv(hue + rng.uniform(-0.15, 0.15), rng.uniform(0.2, 0.8), rng.uniform(0.2, 0.6)))
    breast = replace(coat, colour=hsv(hue + rng.uniform(-0.2, 0.2), 0.4, 0.85), contrast=0.25)
    horn = Material(hsv(rng.uniform(0.04, 0.14), 0.8, rng.uniform(0.5, 0.9)), (90, 50, 10), gloss=0.4)
    long_neck, pitch = rng.uniform(0.02, 0.35), rng.uniform(-0.35, 0.15)
    body_y = -leg - plump * 0.85
    trunk = Frame(0, body_y, 1.0, pitch)
    shapes = [
        Shape(
            "tail",
            "tail",
            trunk.all(
                leaf(-0.35, 0, rng.uniform(0.35, 0.6), 0.2, math.pi - 0.1), leaf(-0.33, 0.03, 0.4, 0.16, math.pi + 0.15)
            ),
            wing,
            0.5,
        )
    ]
    for name, dx, shade in ((far, 0.08, 0.7), (near, -0.02, 1.0)):
        path = ((dx, -leg - 0.04), (dx - 0.05, -leg * 0.5), (dx, -0.02))
        toes = tuple(
            piece for end in (0.13, 0.07, -0.08) for piece in tube(((dx, -0.03), (dx + end, 0.0)), (0.022, 0.014), 2)
        )
        shapes.append(Shape(f"leg_{name}", f"{name} leg", tube(path, (0.035, 0.024, 0.022)), horn, shade=shade))
        shapes.append(Shape(f"leg_{name}/foot", f"{name} foot", toes, horn, shade=shade * 0.9))
    shapes.append(
        Shape(
            "body",
            "body",
            trunk.all(
                closed(
                    (-0.45, -0.05),
                    (-0.1, -plump * 0.9),
                    (0.3, -plump * 0.8),
                    (0.42, 0),
                    (0.15, plump),
                    (-0.2, plump * 0.7),
                )
            ),
            coat,
            0.95,
        )
    )
    shapes.append(
        Shape(
            "body/breast",
            "breast",
            trunk.all(closed((0.1, -0.02), (0.36, -0.1), (0.4, 0.05), (0.14, plump * 0.95), (-0.1, plump * 0.75))),
            breast,
            0.9,
        )
    )
    r = rng.uniform(0.15, 0.2)
    chest = trunk.at(points((0.27, -plump * 0.45)))[0]
    head_at = (float(chest[0]) + 0.1 + 0.2 * long_neck, float(chest[1]) - 0.16 - long_neck)
    shapes.append(
        Shape(
            "neck",
            "neck",
            tube(
                (
                    (float(chest[0]), float(chest[1])),
                    (float(chest[0]) + 0.1, (float(chest[1]) + head_at[1]) / 2),
                    head_at,
                ),
                (plump * 0.55, r * 0.75, r * 0.7),
            ),
            coat,
        )
    )
    frame = Frame(head_at[0], head_at[1], 1.0, rng.uniform(-0.2, 0.3))
    beak = rng.uniform(0.15, 0.34)
    if chance(rng, 0.4):
        crest = tuple(leaf(-0.4 * r, -0.7 * r, r * 1.4, r * 0.4, -math.pi * a) for a in (0.55, 0.68, 0.82))
        shapes.append(Shape("head/crest", "crest", frame.all(*crest), wing, 0.6))
    shapes += [
        Shape(
            "head/beak",
            "beak",
            frame.all(points((r * 0.6, -r * 0.42), (r + beak, r * 0.12), (r * 0.6, r * 0.14))),
            horn,
        ),
        Shape(
            "head/beak",
            "beak",
            frame.all(points((r * 0.6, r * 0.1), (r + beak * 0.85, r * 0.14), (r * 0.6, r * 0.45))),
            horn,
            shade=0.7,
        ),
        Shape(
            "head",
            "head",
            frame.all(ellipse(0, 0, r, r * 0.92)),
            replace(wing, contrast=0.3) if chance(rng, 0.5) else coat,
        ),
        *eye("head/eye", "eye", r * 0.4, -r * 0.2, r * 0.22, pick(rng, ((200, 150, 40), (60, 30, 20))), frame),
    ]
    fold = trunk.all(
        closed((0.22, -plump * 0.55), (0.25, 0.02), (-0.05, plump * 0.45), (-0.5, 0.1), (-0.1, -plump * 0.55))
    )
    feathers = tuple(
        leaf(0.0 - 0.07 * k, plump * (0.3 - 0.12 * k), 0.52, 0.13, math.pi * (1.0 + 0.02 * k)) for k in range(4)
    )
    shapes.append(Shape("wing", "wing", fold, wing, 0.6, pitch))
    shapes.append(
        Shape(
            "wing/flight_feathers",
            "flight feathers",
            trunk.all(*feathers),
            replace(wing, colour=scaled(wing.colour, 0.6)),
            0.6,
        )
    )
    return Drawing("animal", tuple(shapes), 0.8)
