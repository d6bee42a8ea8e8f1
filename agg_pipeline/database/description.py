"""What a database is made from, in words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from agg_pipeline.datasets.naming import UNKNOWN
from agg_pipeline.execution.plan import sources
from schemas.canonical import Json
from schemas.words import plural


@dataclass(frozen=True)
class Description:
    """What a database is made from; if several runs have made it, each of their answers once.

    Attributes:
        names: names of the data sets.
        data: names of the data sets with their splits.
        selection: which classes and images of the data sets are used; "" for all.
        model: architecture, input size in pixels and sha256 of the model.
        preset: preset of the configuration; "" if nothing was made by a run.
        seed: seed, as the preset.
        licence: licence of the data.
        citation: publication of the data.
        homepages: addresses of the publishers of the data, http:// or https://.
        annotated: whether all parts are those that people drew.
        imported: whether all masks were imported from files of other programs.
    """

    names: str
    data: str
    selection: str
    model: str
    preset: str
    seed: str
    licence: str
    citation: str
    homepages: tuple[str, ...]
    annotated: bool
    imported: bool


def description(plan: Json) -> Description:
    """Describe a database by its plan, or by the plan in its manifest."""
    runs = sources(plan)
    made = [run for run in runs if "imported" not in run]
    datasets = [run["dataset"] for run in runs]
    return Description(
        names=_each_once(dataset["name"] for dataset in datasets),
        data=_each_once(f"{dataset['name']}, {dataset['split']}" for dataset in datasets),
        selection=_each_once(_selection(dataset) for dataset in datasets),
        model=_each_once(_model(run["model"]) for run in runs),
        preset=_each_once(run["config"]["preset"] for run in made),
        seed=_each_once(str(run["seed"]) for run in made),
        licence=_each_once(dataset["licence"] for dataset in datasets),
        citation=_each_once(dataset["citation"] for dataset in datasets),
        homepages=tuple(dict.fromkeys(filter(_is_address, (dataset.get("homepage", "") for dataset in datasets)))),
        annotated=all(run["config"].get("source") == "gt" for run in runs),
        imported=not made,
    )


def _model(model: Json) -> str:
    if model["sha256"] == UNKNOWN:
        return UNKNOWN
    if "name" in model:
        return f"{model['architecture']} ({model['sha256'][:12]})"
    return f"SimpleClick {model['architecture']} at {model['input_size']}, sha256 {model['sha256']}"


def _is_address(text: str) -> bool:
    return text.startswith(("http://", "https://"))


def _each_once(texts: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(text for text in texts if text))


def _selection(dataset: Json) -> str:
    selection = dataset.get("selection")
    if not selection:
        return ""
    chosen, skipped = (", ".join(selection.get(key, [])) for key in ("classes", "skip_classes"))
    left_out = selection.get("excluded_images", 0)
    return f"classes {chosen or 'all'}, without {skipped or 'none'}; {plural(left_out, 'image')} left out"
