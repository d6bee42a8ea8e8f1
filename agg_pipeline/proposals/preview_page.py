"""The page of a preview: what AGG makes of one object, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from agg_pipeline.datasets.single_image import DrawnMask, Photograph
from agg_pipeline.figures.svg import View, view_of, widened
from agg_pipeline.proposals.boxed_object import BoxedObject
from agg_pipeline.proposals.preview import DATASET, Complement, Measured, Preview, Step
from agg_pipeline.proposals.verdicts import Kept, verdict
from agg_pipeline.report.gallery import Mark
from agg_pipeline.report.index_page import Link
from agg_pipeline.report.templates import filled
from schemas.canonical import Json
from schemas.config import LoopConfig, ProposalsConfig
from schemas.crop import Box, MaskCrop, ProbabilityMap, area
from schemas.records import Click
from schemas.tables import REASONS

PHOTOGRAPH = (420, 560)
"""Largest height and width of the drawing of the photograph, CSS pixels."""
FIGURE = (360, 330)
"""Largest height and width of the drawing of the object, CSS pixels."""
MARGIN = 0.12
"""Margin around the object, as a share of its longer side."""
MARK_RADIUS = 6.0
"""Radius of a click's mark, CSS pixels."""


@dataclass(frozen=True, eq=False)
class Source:
    """Where the object of a preview comes from.

    Attributes:
        photograph: the photograph.
        found: the mask of the object, as it was drawn or predicted.
        model: what a plan says of the click model.
        command: command that does the same for a whole data set.
    """

    photograph: Photograph
    found: DrawnMask | BoxedObject
    model: Json
    command: str


@dataclass(frozen=True)
class StepShown:
    """A step of a loop as drawn.

    Attributes:
        number: its number among all steps of the object.
        heading: what happens in it.
        clicked: whether it has a new click.
        why: why its click was made where it is.
        marks: its clicks; the last one is the new one, if there is one.
        before: SVG path of the mask that the click was drawn from.
        map: data URI of the probability map.
        mask: SVG path of the mask before post-processing.
        pixels: pixels of that mask.
        candidate: whether the mask is one that may become a proposal.
        cleaned: SVG path of the mask after post-processing.
        cleaned_pixels: pixels of that mask.
        kept: whether the mask became a proposal.
        verdict: what became of the mask, and why.
    """

    number: int
    heading: str
    clicked: bool
    why: str
    marks: tuple[Mark, ...]
    before: str
    map: str
    mask: str
    pixels: int
    candidate: bool
    cleaned: str
    cleaned_pixels: int
    kept: bool
    verdict: str


@dataclass(frozen=True)
class RoundShown:
    """A loop as drawn.

    Attributes:
        length: the drawn number of steps after Y_0.
        steps: its steps.
        end: why it ended.
    """

    length: int
    steps: tuple[StepShown, ...]
    end: str


@dataclass(frozen=True)
class ComplementShown:
    """A complement as drawn.

    Attributes:
        number: step of its proposal.
        mask: SVG path of the complement.
        pixels: pixels of the complement.
        kept: whether it became a proposal.
        verdict: what became of it, and why.
    """

    number: int
    mask: str
    pixels: int
    kept: bool
    verdict: str


@dataclass(frozen=True, eq=False)
class MeasuredShown:
    """A proposal as drawn.

    Attributes:
        name: its kind and step.
        kind: part or complement.
        map: data URI of the probability map of Eq. 3.
        mask: SVG path of the mask.
        mark: the estimator's click.
        measured: its numbers.
        pixels: pixels of the mask.
        flat: whether the map is so flat on the object that the scale stands for the semantic granularity.
    """

    name: str
    kind: str
    map: str
    mask: str
    mark: Mark
    measured: Measured
    pixels: int
    flat: bool


def preview_page(preview: Preview, source: Source, links: Sequence[Link] = ()) -> str:
    """The page, self-contained HTML.

    Args:
        preview: what AGG makes of the object.
        source: where the object comes from.
        links: to other pages.
    """
    image, config = preview.target.image, preview.config
    object_mask = preview.target.object.mask
    whole = view_of(Box(0, 0, image.height, image.width), *PHOTOGRAPH)
    view = view_of(widened(object_mask.box, MARGIN, image.height, image.width), *FIGURE)
    boxed = source.found if isinstance(source.found, BoxedObject) else None
    measured = [_measured_shown(view, each, config) for each in preview.measured]
    return filled(
        "preview.html.j2",
        links=links,
        source=source,
        boxed=boxed,
        dataset=DATASET,
        target=preview.target,
        config=config,
        object_pixels=area(object_mask),
        whole=whole,
        whole_photograph=whole.photograph(preview.pixels),
        whole_outline=whole.outline(object_mask),
        whole_box=_corners(whole, boxed.box) if boxed else None,
        whole_marks=_marks(whole, boxed.clicks) if boxed else (),
        view=view,
        photograph=view.photograph(preview.pixels),
        outline=view.outline(object_mask),
        rounds=_rounds_shown(view, preview),
        complements=_complements_shown(view, preview),
        measured=measured,
        ordered=sorted(measured, key=lambda each: each.measured.estimate.granularity),
        radius=MARK_RADIUS,
    )


def _rounds_shown(view: View, preview: Preview) -> list[RoundShown]:
    """All loops; a mask may repeat one of an earlier loop."""
    object_mask, config = preview.target.object.mask, preview.config
    earlier: list[Kept] = []
    rounds = []
    for each in preview.rounds:
        before, shown = object_mask, []
        for step in each.steps:
            shown.append(_step_shown(view, step, before, earlier, object_mask, config))
            before = step.mask
            if step.cleaned is not None and step.reason is None:
                earlier.append(Kept(f"part {step.number}", step.cleaned))
        end = f"The loop ends before: {REASONS[each.ended]}." if each.ended else "The loop has reached its length."
        rounds.append(RoundShown(each.length, tuple(shown), end))
    return rounds


def _step_shown(
    view: View,
    step: Step,
    before: MaskCrop,
    earlier: Sequence[Kept],
    object_mask: MaskCrop,
    config: ProposalsConfig,
) -> StepShown:
    """A step. before: mask that its click was drawn from; earlier: proposals that are kept already."""
    if step.cleaned is None:
        said = "No candidate: this configuration keeps only the last mask of a loop."
    else:
        said = verdict(step.cleaned, step.reason, object_mask, earlier, config.masks)
    return StepShown(
        number=step.number,
        heading=_heading(step),
        clicked=step.clicked,
        why=_why(step, config.loop),
        marks=_marks(view, step.clicks),
        before=view.outline(before),
        map=map_picture(view, step.probability),
        mask=view.outline(step.mask),
        pixels=area(step.mask),
        candidate=step.cleaned is not None,
        cleaned="" if step.cleaned is None else view.outline(step.cleaned),
        cleaned_pixels=0 if step.cleaned is None else area(step.cleaned),
        kept=step.cleaned is not None and step.reason is None,
        verdict=said,
    )


def _heading(step: Step) -> str:
    if not step.clicked:
        return "no new click"
    return "a positive click" if step.clicks[-1].positive else "a negative click"


def _why(step: Step, config: LoopConfig) -> str:
    """Why the click of a step was made where it is."""
    if not step.clicked:
        return (
            f"The mask before has fewer than {config.min_mask_area} pixels, so no click is drawn; the model predicts "
            "again from its last map."
        )
    if step.clicks[-1].positive:
        zoom = " The model looks at the region around the object." if config.zoom else ""
        return (
            "A random pixel of the object. The click asks for a part of the object; the object's mask is the prompt "
            f"(Eq.\u00a01).{zoom}"
        )
    drawn = "A random pixel of the mask before"
    if config.contrast > 1:
        drawn += f", the one of {config.contrast} draws whose colour differs most from the first click's"
    far = ", not too close to earlier clicks" if config.min_distance else ""
    return (
        f"{drawn}{far}. The click lies where the prediction still is, and says that this is not wanted; the last "
        "probability map is the prompt (Eq.\u00a02)."
    )


def _complements_shown(view: View, preview: Preview) -> list[ComplementShown]:
    object_mask, config = preview.target.object.mask, preview.config
    steps = (step for each in preview.rounds for step in each.steps)
    earlier = [Kept(f"part {step.number}", step.cleaned) for step in steps if step.cleaned and step.reason is None]
    shown = []
    for each in preview.complements:
        said = verdict(each.mask, each.reason, object_mask, earlier, config.masks)
        shown.append(_complement_shown(view, each, said))
        if each.reason is None:
            earlier.append(Kept(f"complement {each.number}", each.mask))
    return shown


def _complement_shown(view: View, each: Complement, said: str) -> ComplementShown:
    return ComplementShown(each.number, view.outline(each.mask), area(each.mask), each.reason is None, said)


def _measured_shown(view: View, each: Measured, config: ProposalsConfig) -> MeasuredShown:
    estimate, kind = each.estimate, each.estimate.query.kind
    peak = estimate.peak_object
    return MeasuredShown(
        name=f"{kind} {each.number}",
        kind=kind,
        map=map_picture(view, each.probability),
        mask=view.outline(estimate.mask),
        mark=_mark(view, "estimator", estimate.click),
        measured=each,
        pixels=area(estimate.mask),
        flat=peak < config.granularity.min_object_peak or peak == 0.0,
    )


def map_picture(view: View, probability: ProbabilityMap) -> str:
    """A probability map in the colours of viridis, from dark (0) to bright (1).

    Args:
        view: the part of the image that is drawn.
        probability: the map.

    Returns:
        A data URI of the part.
    """
    levels = np.round(probability.window(view.box) * 255).astype(np.uint8)
    coloured = np.asarray(cv2.applyColorMap(levels, cv2.COLORMAP_VIRIDIS), np.uint8)[..., ::-1]
    return View(Box(0, 0, view.box.height, view.box.width), view.scale).photograph(coloured)


def _marks(view: View, clicks: Sequence[Click]) -> tuple[Mark, ...]:
    return tuple(_mark(view, "positive" if click.positive else "negative", click) for click in clicks)


def _mark(view: View, role: str, click: Click) -> Mark:
    return Mark(role, *view.position(click.row, click.col, MARK_RADIUS))


def _corners(view: View, box: Box) -> tuple[float, float, float, float]:
    """x, y, width and height of a box of the image in a drawing, CSS pixels."""
    x, y = (box.left - view.box.left) * view.scale, (box.top - view.box.top) * view.scale
    return round(x, 1), round(y, 1), round(box.width * view.scale, 1), round(box.height * view.scale, 1)
