"""``agg adapter``: adapters in other programs' formats."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cloup

from agg_pipeline.cli.option_groups import examples, option
from agg_pipeline.cli.options import Choice
from agg_pipeline.cli.places import LOCAL_FILE
from agg_pipeline.report.printed import say
from schemas.errors import UserError

OVERWRITE = option("--overwrite", is_flag=True, help="Replace TARGET if it exists.")


@cloup.group("adapter")
def group() -> None:
    """Convert adapters to and from other formats."""


@group.command(
    "export",
    epilog=examples(
        "agg adapter export runs/demo/finetune/adapter.safetensors graco.pth --format released",
        "agg adapter export adapter.safetensors model.safetensors --format merged --checkpoint base.pth",
    ),
)
@cloup.argument("adapter", type=LOCAL_FILE, help="Adapter that is read.")
@cloup.argument("target", type=LOCAL_FILE, help="File that is written.")
@option(
    "--format",
    "form",
    type=Choice(["released", "merged"]),
    required=True,
    help="Format of TARGET. released: an adapter as the authors' program reads it (.pth). merged: click model and "
    "adapter in one .safetensors file.",
)
@option(
    "--checkpoint",
    type=LOCAL_FILE,
    show_default="the built-in model",
    help="Click model that the adapter was trained for; used by --format merged.",
)
@OVERWRITE
def export_command(adapter: Path, target: Path, form: str, checkpoint: Path | None, overwrite: bool) -> None:
    """Write an adapter in another format.

    ADAPTER goes to TARGET as a file of the authors' program, or merged with its click model.
    """
    from agg_pipeline.models.checkpoints import (
        default_checkpoint,
        load_adapter,
        load_click_model,
        save_click_model,
    )
    from agg_pipeline.models.model_files import check_base
    from agg_pipeline.models.released_files import save_released_adapter
    from agg_pipeline.models.simpleclick import attach_adapter

    _check_ending(target, f"--format {form}", released=form == "released")
    loaded, info = load_adapter(adapter)
    _check_target(target, overwrite, adapter, checkpoint)
    if form == "released":
        _written(target, lambda: save_released_adapter(target, loaded))
        if info.input_size:
            say(f"note: the file does not hold the adapter's input size; use it with --input-size {info.input_size}")
        return
    base = checkpoint or default_checkpoint()
    network, described = load_click_model(base, info.input_size)
    check_base(str(adapter), info, str(base), described.sha256)
    attach_adapter(network, loaded)
    _written(target, lambda: save_click_model(target, network, half=False, origin=info.origin))


@group.command(
    "import",
    epilog=examples(
        "agg adapter import graco.pth adapter.safetensors",
        "agg adapter import ~/released/graco.pth adapter.safetensors --overwrite",
    ),
)
@cloup.argument("source", type=LOCAL_FILE, help="Adapter in the authors' format.")
@cloup.argument("target", type=LOCAL_FILE, help="File that is written.")
@OVERWRITE
def import_command(source: Path, target: Path, overwrite: bool) -> None:
    """Read an adapter of the authors' program.

    SOURCE goes to TARGET as safetensors. Its branch for phrases is kept, but not used.
    """
    from agg_pipeline.models.checkpoints import load_adapter, save_adapter

    _check_ending(target, "import", released=False)
    loaded, info = load_adapter(source)
    _check_target(target, overwrite, source)
    _written(target, lambda: save_adapter(target, loaded, info.origin if info.origin.base_sha256 else None))


def _check_ending(target: Path, what: str, released: bool) -> None:
    """UserError if a file would have the ending of the other format.

    Args:
        target: the file.
        what: what is done, for the message.
        released: whether the file is to be one of the authors' program, and not safetensors.
    """
    written, ending = ("a file of the authors' program", ".pth") if released else ("safetensors", ".safetensors")
    others = (".safetensors",) if released else (".pth", ".pt")
    if target.suffix.lower() in others:
        raise UserError(f"{what} writes {written}; give TARGET the ending {ending}, not {target}")


def _check_target(target: Path, overwrite: bool, *sources: Path | None) -> None:
    if not target.exists():
        return
    if any(source is not None and source.exists() and target.samefile(source) for source in sources):
        raise UserError(f"{target} is also the file that is read; name another TARGET")
    if not overwrite:
        raise UserError(f"{target} exists; use --overwrite to replace it, or name another TARGET")


def _written(target: Path, write: Callable[[], None]) -> None:
    write()
    say(f"{target}: {target.stat().st_size} bytes")
