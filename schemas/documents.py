"""The JSON documents that runs write, as far as their readers rely on them: what a document must hold to be one.

The documents are read as plain JSON and checked against these types, so that keys that are not listed here are kept.
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from schemas.checked_json import Count, Name
from schemas.config import Source

Seconds = Annotated[float, Meta(ge=0, le=1e11)]
"""A time of at most some thousand years, so that sums and ratios of such times are finite."""
Duration = Annotated[float, Meta(ge=1e-9, le=1e11)]
"""How long something took that took time; a clock's smallest step is a nanosecond."""
TargetIou = Annotated[str, Meta(pattern=r"^(0(\.\d+)?|1(\.0+)?)$", max_length=32)]
"""An IoU from 0 to 1, as a key."""


class PlannedSelection(Struct, frozen=True):
    """What is used of a data set; empty for all of it."""

    classes: list[Name] = []
    skip_classes: list[Name] = []
    excluded_images: Count = 0


class PlannedDataset(Struct, frozen=True):
    """The data set in a plan; ``layout`` is missing in format 1.0."""

    name: Name
    split: Name
    images: Count
    licence: str
    citation: str
    layout: Name = ""
    homepage: str = ""
    selection: PlannedSelection = PlannedSelection()


class PlannedModel(Struct, frozen=True):
    """The model in a plan."""

    architecture: Name
    input_size: Count
    sha256: Name


class PlannedConfig(Struct, frozen=True):
    """The configuration in a plan, as far as pages and cards show it."""

    preset: Name
    source: Source = "agg"
    granularity: dict[str, Any] = {}
    batch: dict[str, Any] = {}


class Plan(Struct, frozen=True):
    """The plan of a run, ``plan.json``; ``format_minor`` is missing in format 1.0."""

    format_version: int
    config_hash: Name
    seed: int
    dataset: PlannedDataset
    model: PlannedModel
    config: PlannedConfig
    shards: list[list[Name]]
    format_minor: Count = 0


class ImportedFile(Struct, frozen=True):
    """The file of another program that rows were imported from."""

    format: Name
    file: Name
    sha256: Name


class SourceRun(Struct, frozen=True):
    """A run that has made rows of a database; ``id`` is that of the database that it made.

    ``as_made`` holds values of data set and configuration that have been changed since, by dotted key.
    """

    id: Name
    seed: int
    dataset: PlannedDataset
    model: PlannedModel
    config: PlannedConfig
    imported: ImportedFile | UnsetType = UNSET
    as_made: dict[str, Any] | UnsetType = UNSET


class HistoryEntry(Struct, frozen=True):
    """A command that has made a database from others; ``parents`` are their ids."""

    command: Name
    options: dict[str, Any]
    parents: list[Name]


class CombinedPlan(Struct, frozen=True):
    """The plan of a database that was made from others."""

    format_version: int
    format_minor: Count
    config_hash: Name
    sources: Annotated[list[SourceRun], Meta(min_length=1)]
    history: list[HistoryEntry]
    shards: list[list[Name]]


class ShardFile(Struct, frozen=True):
    """The file of a table."""

    rows: Count
    bytes: Count
    sha256: Name


class Sidecar(Struct, frozen=True):
    """The sidecar of a shard, without the counts of its layout; ``checksum`` is missing in databases of version 0.1."""

    format_version: int
    shard: Count
    config_hash: Name
    images: Count
    files: dict[Name, ShardFile]
    checksum: Name | None = None


class ProposalCounts(Struct, frozen=True):
    """What the sidecar of a shard of proposals counts."""

    kinds: dict[Name, Count]
    rejects: dict[Name, Count]


class NocSoFar(Struct, frozen=True):
    """Masks of a level in a shard of an evaluation that has some."""

    target: float
    masks: Annotated[int, Meta(ge=1, le=2**63 - 1)]
    clicks: Count


class EvaluationCounts(Struct, frozen=True):
    """What the sidecar of a shard of an evaluation counts; version 0.1 wrote no ``chosen``."""

    masks: Count
    whole: bool
    noc: dict[Name, NocSoFar]
    chosen: str | None = None


class ProposalTotals(Struct, frozen=True):
    """The totals of a database."""

    planned_images: Count
    images: Count
    objects: Count
    proposals: dict[Name, Count]


class PlanSummary(Struct, frozen=True):
    """A plan without its images, as a manifest holds it."""

    config_hash: Name


class ImageLicences(Struct, frozen=True):
    """Number of images by licence, and of those whose licence is not listed."""

    counts: dict[str, Count]
    others: Count


class Manifest(Struct, frozen=True):
    """The manifest of a database, ``manifest.json``; ``id`` and ``sources`` are missing in format 1.0.

    ``image_licences`` is there if an image has another licence than its data set.
    """

    plan: PlanSummary
    complete: bool
    totals: ProposalTotals
    id: str = ""
    sources: list[dict[str, Any]] = []
    image_licences: ImageLicences | None = None
    summaries: dict[str, str] = {}
    shards: list[dict[str, Any]] = []


class Clicks(Struct, frozen=True):
    """How the clicks of an evaluation end."""

    max_clicks: Count
    early_stop: bool


class EvaluationSettings(Struct, frozen=True):
    """The configuration of an evaluation."""

    mode: Name
    seed: int
    clicks: Clicks


class EvaluatedDataset(Struct, frozen=True):
    """The data set of an evaluation in its summary; ``layout`` is missing in those of version 0.1."""

    name: Name
    layout: Name = ""


class EvaluatedPlan(Struct, frozen=True):
    """The plan of an evaluation in its summary."""

    dataset: EvaluatedDataset
    config: EvaluationSettings


class Mean(Struct, frozen=True):
    """A mean."""

    mean: float


class AllGranularities(Struct, frozen=True):
    """What every granularity gives: numbers in the order of the granularities."""

    noc: dict[TargetIou, Annotated[list[float], Meta(min_length=10, max_length=10)]]
    iou: dict[Name, Annotated[list[float], Meta(min_length=10, max_length=10)]]


class Figures(Struct, frozen=True):
    """The metrics of some masks."""

    masks: Count
    noc: dict[TargetIou, Mean]
    iou: dict[Name, Mean]
    granularity: AllGranularities | None = None


class Level(Struct, frozen=True):
    """The metrics of a level."""

    all: Figures
    by_class: dict[str, Figures]


class EvaluationSummary(Struct, frozen=True):
    """The summary of an evaluation, ``summary.json``; version 0.1 wrote neither ``files`` nor ``checksum``."""

    format_version: int
    plan: EvaluatedPlan
    levels: dict[Name, Level]
    masks: Count
    targets: Name
    files: dict[Name, ShardFile] = {}
    checksum: Name | None = None


class Latency(Struct, frozen=True):
    """Seconds of single clicks, and the number of the model's weights, which version 0.1 did not write."""

    median: Seconds
    p95: Seconds
    clicks: Count
    parameters: Count | None = None


class Timings(Struct, frozen=True):
    """How long an evaluation took, ``timings.json``."""

    masks: Count
    seconds: Duration
    latency: Latency | None


class BegunStep(Struct, frozen=True):
    """A step of a study."""

    arguments: list[str]
    finished: bool
    seconds: Seconds


class BegunSteps(Struct, frozen=True):
    """The steps of a study that were begun, ``steps.json``."""

    facts: dict[str, str]
    steps: dict[str, BegunStep]


class RecipeName(Struct, frozen=True):
    """The configuration of a training, as the index of the runs shows it."""

    recipe: Name
    architecture: Name = ""


class IndexedTraining(Struct, frozen=True):
    """The plan of a training, as the index of the runs shows it."""

    config: RecipeName


class Learning(Struct, frozen=True):
    """How a training learns."""

    lr: float
    epochs: Count
    batch: Count


class FinetuneSettings(Struct, frozen=True):
    """The configuration of a training, as the report of a study shows it."""

    source: Name
    training: Learning


class StudiedTraining(Struct, frozen=True):
    """The plan of a training, as the report of a study shows it."""

    config: FinetuneSettings
