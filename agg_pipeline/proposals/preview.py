"""What AGG makes of one object, step by step: the stages of a run over one image, and what they leave in between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agg_pipeline.datasets.paired import FOLDER
from agg_pipeline.execution.chain import run_stages
from agg_pipeline.execution.shard_task import ShardTask
from agg_pipeline.proposals.pipeline import Shard, chain
from schemas.config import ProposalsConfig
from schemas.crop import MaskCrop, ProbabilityMap, threshold
from schemas.errors import UserError
from schemas.records import (
    Click,
    Estimate,
    ImageEntry,
    ImageRecord,
    Interaction,
    Loop,
    ObjectProposals,
    Pixels,
    Prediction,
    Target,
)
from schemas.tables import REASONS
from stages.click_model import ClickModel
from stages.complement import complement_of
from stages.mask_engine import THRESHOLD, first_step, loop_length
from stages.postprocess import cleaned

DATASET = FOLDER.name
"""Name of the data set whose draws are shown: that of any folder of images with one mask image each."""


@dataclass(frozen=True, eq=False)
class Forward:
    """A prediction, with what it was made for."""

    interaction: Interaction
    prediction: Prediction


class Recorder:
    """A click model that keeps all that it is asked and answers.

    Args:
        model: the model that predicts.

    Attributes:
        forwards: the predictions so far.
    """

    def __init__(self, model: ClickModel) -> None:
        self._model = model
        self.forwards: list[Forward] = []

    def predict(self, interactions: Sequence[Interaction]) -> list[Prediction]:
        """What the model predicts."""
        predictions = self._model.predict(interactions)
        self.forwards += map(Forward, interactions, predictions)
        return predictions


@dataclass(frozen=True, eq=False)
class Step:
    """A step of a loop.

    Attributes:
        number: number t of Y_t, numbered on through all loops of the object.
        clicks: all clicks so far.
        clicked: whether the last of them was made in this step.
        probability: the predicted map Y_t.
        mask: Y_t > 0.5, before post-processing.
        cleaned: the mask after post-processing; None if the preset does not keep the masks of such steps.
        reason: why the cleaned mask was dropped, one of ``schemas.tables.REASONS``; None if it was not.
    """

    number: int
    clicks: tuple[Click, ...]
    clicked: bool
    probability: ProbabilityMap
    mask: MaskCrop
    cleaned: MaskCrop | None
    reason: str | None


@dataclass(frozen=True, eq=False)
class Round:
    """A loop over the object.

    Attributes:
        length: the drawn number N of steps after Y_0.
        steps: its steps, in order.
        ended: why it stopped before, one of ``schemas.tables.REASONS``; None if it did not.
    """

    length: int
    steps: tuple[Step, ...]
    ended: str | None


@dataclass(frozen=True, eq=False)
class Complement:
    """What a kept proposal leaves of its object.

    Attributes:
        number: step of the proposal.
        mask: the complement.
        reason: why it was dropped, one of ``schemas.tables.REASONS``; None if it was not.
    """

    number: int
    mask: MaskCrop
    reason: str | None


@dataclass(frozen=True, eq=False)
class Measured:
    """A kept proposal or complement with its granularity.

    Attributes:
        number: step of the loop that made it, or whose part it is the complement of.
        estimate: the mask and its numbers.
        probability: the map M of Eq. 3, after one click in the mask; 0 outside of mask and object.
    """

    number: int
    estimate: Estimate
    probability: ProbabilityMap


@dataclass(frozen=True, eq=False)
class Preview:
    """What AGG makes of an object.

    Attributes:
        target: the object.
        pixels: pixels of its image.
        config: configuration of the run.
        rounds: its loops.
        complements: complements of the kept proposals, in their order.
        measured: kept proposals and complements, in the order in which a run stores them.
    """

    target: Target
    pixels: Pixels
    config: ProposalsConfig
    rounds: tuple[Round, ...]
    complements: tuple[Complement, ...]
    measured: tuple[Measured, ...]


def make_preview(record: ImageRecord, config: ProposalsConfig, model: ClickModel) -> Preview:
    """Send an image through the stages of a run.

    Args:
        record: an image with one object.
        config: configuration of the run; its source is "agg".
        model: the click model.

    Raises:
        UserError: a run would not use the object.
    """
    loading, simulating, cleaning, completing, estimating = chain(config).stages
    engine, estimator = Recorder(model), Recorder(model)
    # As a run would take it, there is one image in one shard.
    entry = ImageEntry(record.image_id, record.path, 0, None)
    loaded: Shard = run_stages([loading], ShardTask(0, DATASET, (entry,), lambda _: record, config), model)
    for reject in loaded.rejects:
        raise UserError(f"a run with this configuration leaves the object out: {REASONS[reject.reason]}")
    simulated: Shard = run_stages([simulating], loaded, engine)
    finished: Shard = run_stages([cleaning, completing, estimating], simulated, estimator)
    (proposals,) = finished.proposals
    masks = (*proposals.parts, *proposals.complements)
    return Preview(
        target=proposals.target,
        pixels=record.pixels,
        config=config,
        rounds=_rounds(simulated.loops, engine.forwards, proposals, config),
        complements=_complements(proposals, config),
        measured=tuple(
            Measured(part.step, estimate, forward.prediction.probability)
            for part, estimate, forward in zip(masks, finished.estimates, estimator.forwards, strict=True)
        ),
    )


def _rounds(
    loops: Sequence[Loop], forwards: Sequence[Forward], proposals: ObjectProposals, config: ProposalsConfig
) -> tuple[Round, ...]:
    of_loops = _of_loops(forwards)
    rounds = []
    for number, (loop, own) in enumerate(zip(loops, of_loops, strict=True)):
        length = loop_length(config.seed, DATASET, loop.target, config.loop, number)
        steps = _steps(loop, own, first_step(number, config.loop), proposals, config)
        rounds.append(Round(length, steps, loop.ended))
    return tuple(rounds)


def _of_loops(forwards: Sequence[Forward]) -> list[list[Forward]]:
    """The predictions of each loop, in order: the prompt of a step is the map of the step before."""
    loops: list[list[Forward]] = []
    for forward in forwards:
        before = (own for own in loops if own[-1].prediction.probability is forward.interaction.prompt)
        own = next(before, None)
        if own is None:
            loops.append([forward])
        else:
            own.append(forward)
    return loops


def _steps(
    loop: Loop, forwards: Sequence[Forward], first: int, proposals: ObjectProposals, config: ProposalsConfig
) -> tuple[Step, ...]:
    """The steps of a loop. forwards: its predictions; first: number of the first one."""
    candidates = {candidate.step: candidate for candidate in loop.candidates}
    clicks_before = 0
    steps = []
    for number, forward in enumerate(forwards, start=first):
        candidate, clicks = candidates.get(number), forward.interaction.clicks
        probability = forward.prediction.probability
        steps.append(
            Step(
                number=number,
                clicks=clicks,
                clicked=len(clicks) > clicks_before,
                probability=probability,
                mask=threshold(probability, THRESHOLD),
                cleaned=None
                if candidate is None
                else cleaned(candidate, loop.target, config.masks, config.seed, DATASET),
                reason=_reason(proposals, "postprocess", number),
            )
        )
        clicks_before = len(clicks)
    return tuple(steps)


def _complements(proposals: ObjectProposals, config: ProposalsConfig) -> tuple[Complement, ...]:
    return tuple(
        Complement(
            part.step,
            complement_of(part, proposals.target, config.masks, config.seed, DATASET),
            _reason(proposals, "complement", part.step),
        )
        for part in proposals.parts
    )


def _reason(proposals: ObjectProposals, stage: str, step: int) -> str | None:
    """Why a stage dropped the mask of a step; None if it did not."""
    return next((each.reason for each in proposals.rejects if (each.stage, each.step) == (stage, step)), None)
