"""Click models other than the project's own: what they say of themselves, and how they are found by their names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.canonical import content_hash
from schemas.crop import Box
from schemas.errors import UserError
from schemas.records import Interaction
from schemas.words import excerpt, possible

GROUP = "agg_pipeline.models"
"""Group of the entry points by which a package adds models."""
OURS = {
    "geodesic": "agg_pipeline.models.classical:geodesic",
    "grabcut": "agg_pipeline.models.classical:grabcut",
    "onnx": "agg_pipeline.inference.onnx_predictor:onnx",
    "random-walker": "agg_pipeline.models.classical:random_walker",
    "ritm": "agg_pipeline.inference.ritm_predictor:ritm",
    "sam": "agg_pipeline.models.sam:sam",
}
"""Models of this project by their names: module and function, as in an entry point."""
PATH = "path"
"""Name of an argument that is given without one."""


@dataclass(frozen=True)
class ModelFacts:
    """What a model says of itself; a plan records it.

    Attributes:
        architecture: name for tables and plans.
        sha256: of the weights, hex; "" for a method without weights.
        input_size: longest side of the images that it sees, in pixels; 0 for images as they are.
        parameters: number of its weights.
        probabilities: whether its maps are probabilities, which AGG's estimator compares (Eq. 4). False for a mask of
            zeros and ones, or for values of another scale.
        candidates: maps per interaction. Of several, the evaluator takes the one with the highest IoU with the ground
            truth after each click; AGG, which has no ground truth for a part, refuses the model.
        settings: what else changes its predictions.
    """

    architecture: str
    sha256: str = ""
    input_size: int = 0
    parameters: int = 0
    probabilities: bool = True
    candidates: int = 1
    settings: Mapping[str, str | int | float] = field(default_factory=dict)


class MapAndRegion(NamedTuple):
    """The answer of a model that zooms in, and needs to know at the next prediction where it looked.

    Attributes:
        values: the map of the whole image, (H, W) float32.
        region: comes back as ``roi`` of the interaction; None if the model has not chosen a region yet.
    """

    values: NDArray[np.float32]
    region: Box | None


class OtherModel(Protocol):
    """A click model that a package may add."""

    @property
    def facts(self) -> ModelFacts:
        """What it says of itself."""
        ...

    def predict(self, interactions: Sequence[Interaction]) -> Sequence[NDArray[np.float32] | MapAndRegion]:
        """Predict the foreground of interactions over images of any size.

        Args:
            interactions: each with ``image``, (H, W, 3) uint8 RGB; ``clicks``, in their order, (row, col, positive);
                and ``prompt``, the last map of the same interaction, None before the first. For models that zoom in,
                also ``focus``, the map that the region follows, and ``roi``, the region that they gave with the last
                map, None before the first.

        Returns:
            A map per interaction, (H, W) float32 in [0, 1]; the foreground is above 0.5. (candidates, H, W) if the
            facts say that there are several candidates. A model that zooms in gives its region as well.
        """
        ...


MakeModel = Callable[[Mapping[str, str], str], OtherModel]
"""Makes a model from its arguments, by their names, on a device (``cpu`` or ``cuda``); UserError if it cannot."""


@dataclass(frozen=True, slots=True)
class NamedModel:
    """A model as --model names it, described once and made anywhere.

    Attributes:
        text: name and arguments, ``NAME[:ARGUMENTS]``.
        facts: what it said of itself where the run was started.
    """

    text: str
    facts: ModelFacts

    @property
    def planned(self) -> dict[str, Any]:
        """What a plan says of the model."""
        facts = asdict(self.facts)
        settings = facts.pop("settings")
        # A method without weights is known by its name and what it was set to.
        sha256 = facts.pop("sha256") or content_hash({"architecture": self.facts.architecture, **settings})
        return facts | {
            "name": self.text.partition(":")[0],
            "sha256": sha256,
            "granularity": False,
            **({"settings": dict(settings)} if settings else {}),
        }


@dataclass(frozen=True)
class InstalledModel:
    """A model that --model can name.

    Attributes:
        name: its name.
        package: the distribution that adds it.
        place: module and function that make it, ``module:function``.
    """

    name: str
    package: str
    place: str


def installed_models() -> list[InstalledModel]:
    """All models that are installed, by their names; those of this project go before others of the same name."""
    added = {
        each.name: InstalledModel(each.name, each.dist.name if each.dist else "unknown", each.value)
        for each in entry_points(group=GROUP)
    }
    ours = {name: InstalledModel(name, "agg-pipeline", place) for name, place in OURS.items()}
    return [found for _, found in sorted((added | ours).items())]


def named_model(text: str, device: str = "cpu") -> NamedModel:
    """Describe a model by its name.

    Args:
        text: ``NAME[:ARGUMENTS]``; arguments are separated by commas, ``KEY=VALUE`` or, the first one, a path.
        device: on which it is made to be described.

    Raises:
        UserError: there is no such model, or it cannot be made.
    """
    return NamedModel(text, _made(text, device).facts)


def make_model(model: NamedModel, device: str) -> OtherModel:
    """Make a model.

    Args:
        model: which one.
        device: ``cpu`` or ``cuda``.

    Raises:
        UserError: it cannot be made here, or is not the one that was described.
    """
    made = _made(model.text, device)
    if made.facts != model.facts:
        raise UserError(f"{excerpt(model.text)} is another model here than where the run was started")
    return made


def _made(text: str, device: str) -> OtherModel:
    name, _, rest = text.partition(":")
    return _maker(name)(_arguments(name, rest), device)


def _maker(name: str) -> MakeModel:
    """The function that makes a model; UserError if there is none, or its package cannot be imported."""
    installed = {each.name: each.place for each in installed_models()}
    if name not in installed:
        raise UserError(f"there is no model {excerpt(name)}; {possible(name, installed)}")
    module, _, function = installed[name].partition(":")
    try:
        found: MakeModel = getattr(import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise UserError(f"model {excerpt(name)} cannot be loaded from {module}: {excerpt(str(error))}") from error
    return found


def _arguments(name: str, text: str) -> dict[str, str]:
    """The arguments of a model by their names; UserError for one without a name that is not the first."""
    found: dict[str, str] = {}
    for number, part in enumerate(text.split(",") if text else ()):
        key, equals, value = part.partition("=")
        if not equals:
            key, value = PATH, part
        if (not equals and number) or not key or key in found:
            raise UserError(
                f"--model {excerpt(f'{name}:{text}')} cannot be read; write NAME:PATH,KEY=VALUE,..., each key once"
            )
        found[key] = value
    return found


def number_argument(arguments: Mapping[str, str], name: str, default: float, low: float, high: float) -> float:
    """A number among the arguments of a model.

    Args:
        arguments: of the model.
        name: of the argument.
        default: the number if it is not given.
        low, high: smallest and largest number.

    Raises:
        UserError: it is no number, or too small or large.
    """
    text = arguments.get(name, str(default))
    try:
        number = float(text)
    except ValueError:
        number = np.nan
    if not low <= number <= high:
        raise UserError(f"{name}={excerpt(text)} is not a number from {low:g} to {high:g}")
    return number


def check_arguments(arguments: Mapping[str, str], known: Sequence[str], name: str) -> None:
    """Refuse arguments that a model does not have.

    Args:
        arguments: of the model.
        known: names of those that it has.
        name: of the model.

    Raises:
        UserError: one is unknown.
    """
    for key in arguments:
        if key not in known:
            raise UserError(f"model {name} has no argument {excerpt(key)}; {possible(key, sorted(known))}")
