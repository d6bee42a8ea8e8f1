"""``agg proposals preview``: what AGG makes of one object of one's own photograph."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloup

from agg_pipeline.cli.config_options import config_options, configured, preset_option, proposals_config
from agg_pipeline.cli.model_options import CHECKPOINT, model_file
from agg_pipeline.cli.option_groups import examples, gathered, given, options_of
from agg_pipeline.cli.options import Run
from agg_pipeline.cli.places import FILE
from agg_pipeline.report.printed import say
from schemas.config import ProposalsConfig
from schemas.crop import Box, area
from schemas.errors import UserError
from schemas.presets import PRESETS
from schemas.resolve import on_device
from schemas.words import excerpt, plural

if TYPE_CHECKING:
    from agg_pipeline.datasets.single_image import DrawnMask, Photograph
    from agg_pipeline.inference.predictor import Predictor
    from agg_pipeline.proposals.boxed_object import BoxedObject
    from agg_pipeline.storage.store import Store
    from schemas.canonical import Json


def box_of(text: str) -> Box:
    """A box from LEFT,TOP,WIDTH,HEIGHT in pixels; UserError if it is none, or has no pixel."""
    try:
        left, top, width, height = (int(part) for part in text.split(","))
    except ValueError:
        raise UserError(f"--box {excerpt(text)} is no box; give four whole numbers, LEFT,TOP,WIDTH,HEIGHT") from None
    if width < 1 or height < 1:
        raise UserError(f"--box {excerpt(text)} has no pixel; width and height are at least 1")
    return Box(top, left, height, width)


@dataclass(frozen=True)
class Object:
    """Where the object is in the photograph."""

    box: Box | None = given(
        "--box",
        type=box_of,
        metavar="LEFT,TOP,WIDTH,HEIGHT",
        show_default="none",
        help="Box around the object, in pixels from the left and the top. The model predicts the object's mask.",
    )
    mask: str | None = given(
        "--mask",
        type=FILE,
        metavar="FILE",
        show_default="none",
        help="Image of the photograph's size whose pixels are the object where they are not black.",
    )


@dataclass(frozen=True)
class Page:
    """Where the page goes."""

    out: str = given("--out", type=FILE, metavar="FILE", default="preview.html", help="HTML page that is written.")
    overwrite: bool = given("--overwrite", is_flag=True, help="Replace a file that is there.")


@cloup.command(
    "preview",
    epilog=examples(
        "agg proposals preview photo.jpg --mask photo-mask.png",
        "agg proposals preview photo.jpg --box 120,40,310,280 --preset parts --out parts.html",
    ),
)
@cloup.argument("image", type=FILE, help="Photograph.")
@cloup.option_group("Object", *options_of(Object))
@cloup.option_group("Model", CHECKPOINT, *config_options(PRESETS, "predictor"))
@cloup.option_group("Clicks", *config_options(PRESETS, "loop"))
@cloup.option_group(
    "Run", *options_of(Page), *options_of(Run, "config"), preset_option(PRESETS), *config_options(PRESETS, "seed")
)
@configured
@gathered(chosen=Object, page=Page)
def preview_command(
    image: str,
    chosen: Object,
    page: Page,
    checkpoint: str | None,
    config: Path | None,
    preset: str | None,
    settings: dict[str, Any],
) -> None:
    """Show what AGG makes of one object.

    The page shows the simulated clicks on the object step by step, which masks are kept and why, and how their
    granularity is measured: what agg proposals run would do with a photograph of your own.
    """
    from agg_pipeline.datasets.single_image import read_photograph
    from agg_pipeline.proposals.preview import make_preview
    from agg_pipeline.proposals.preview_page import Source, preview_page
    from agg_pipeline.report.index_page import index_links

    resolved = replace(proposals_config(preset, config, settings), source="agg")
    store, name = _place(page, image, chosen.mask)
    photograph = read_photograph(image)
    given = _checked_object(chosen, photograph)
    resolved, model, described = _opened(model_file(checkpoint), resolved)
    found = _predicted(photograph, given, model) if isinstance(given, Box) else given
    preview = make_preview(photograph.record(found.mask), resolved, model)
    command = shlex.join(_command(checkpoint, preset, config, settings))
    page_text = preview_page(preview, Source(photograph, found, described, command), index_links(store))
    store.write(name, page_text.encode())
    for note in (*photograph.notes, *found.notes):
        say(f"note: {note}", err=True)
    parts = sum(each.estimate.query.kind == "part" for each in preview.measured)
    complements = len(preview.measured) - parts
    say(f"{plural(parts, 'part')} and {plural(complements, 'complement')} of the object; open {page.out}")


def _place(page: Page, *sources: str | None) -> tuple[Store, str]:
    """Folder and name of the page; UserError if it cannot be written there. sources: files that are read."""
    from agg_pipeline.storage.store import Store

    store, name = Store.of_file(page.out)
    if not name:
        raise UserError(f"--out {page.out or 'is empty'}: name a file, such as preview.html")
    for source in sources:
        if source is not None and _same(store, name, *Store.of_file(source)):
            raise UserError(f"--out {page.out} is also a file that is read; choose another name")
    if store.exists(name) and not page.overwrite:
        raise UserError(f"{page.out} is there already; choose another name, or use --overwrite to replace it")
    return store, name


def _same(store: Store, name: str, other: Store, other_name: str) -> bool:
    """Whether two names are those of one file, wherever links lead."""
    one, two = store.below(name), other.below(other_name)
    return one.lies_in(two) and two.lies_in(one)


def _checked_object(chosen: Object, photograph: Photograph) -> Box | DrawnMask:
    """The box, or the drawn mask; UserError if none or both are given, or if it does not fit the photograph."""
    from agg_pipeline.datasets.single_image import read_object_mask

    if chosen.mask is not None and chosen.box is None:
        return read_object_mask(chosen.mask, photograph)
    if chosen.mask is not None or chosen.box is None:
        raise UserError("give the object either as --box LEFT,TOP,WIDTH,HEIGHT or as --mask FILE")
    box, (height, width) = chosen.box, photograph.pixels.shape[:2]
    if box.left < 0 or box.top < 0 or box.left + box.width > width or box.top + box.height > height:
        given = f"{box.left},{box.top},{box.width},{box.height}"
        raise UserError(f"--box {given} leaves the photograph, which is {width} pixels wide and {height} high")
    return box


def _opened(checkpoint: str, config: ProposalsConfig) -> tuple[ProposalsConfig, Predictor, Json]:
    """The configuration on the chosen device, the model as a worker of a run opens it, and what a plan says of it."""
    import torch

    from agg_pipeline.inference.predictor import open_predictor
    from agg_pipeline.models.backend import choose_device
    from agg_pipeline.models.model_files import describe_model

    config = on_device(config, choose_device(config.predictor.device).name)
    files, described = describe_model(checkpoint, "", config.predictor.input_size or None)
    # The number of threads may change a bit of a prediction.
    torch.set_num_threads(config.predictor.threads)
    return config, open_predictor(files, config.predictor), described


def _predicted(photograph: Photograph, box: Box, model: Predictor) -> BoxedObject:
    """The predicted object in a box; UserError if there is none."""
    from agg_pipeline.proposals.boxed_object import object_in_box

    boxed = object_in_box(photograph.pixels, box, model)
    if area(boxed.mask) == 0:
        raise UserError("the model finds no object in the box; give its mask as --mask FILE, or another box")
    return boxed


def _command(checkpoint: str | None, preset: str | None, config: Path | None, settings: dict[str, Any]) -> list[str]:
    """The words of the command that does the same for a folder of images with masks."""
    words = ["agg", "proposals", "run", "--dataset", "folder", "--data", "FOLDER"]
    for name, value in {"checkpoint": checkpoint, "preset": preset, "config": config, **settings}.items():
        if isinstance(value, bool):
            words.append(f"--{name}" if value else f"--no-{name}")
        elif value is not None:
            words += [f"--{name}", str(value)]
    return [*words, "--out", "runs/FOLDER"]
