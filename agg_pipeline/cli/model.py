"""``agg model``: other models than a checkpoint, and click models for other programs."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import cloup

from agg_pipeline.cli.model_options import CHECKPOINT, adapter_file, model_file
from agg_pipeline.cli.option_groups import examples, option
from agg_pipeline.cli.options import Choice, Count
from agg_pipeline.cli.places import FILE, LOCAL_FILE
from agg_pipeline.report.printed import say
from schemas.errors import UserError

SUFFIXES = {"onnx": ".onnx", "onnx-int8": ".onnx", "torch-export": ".pt2"}
"""How the file of a format is called while it is made."""


@cloup.group("model")
def group() -> None:
    """List other models, and export click models for other programs."""


@group.command("list", epilog=examples("agg model list", "agg model list | grep sam"))
def list_command() -> None:
    """List the models that --model names, with their packages.

    They segment by clicks, as the file of --checkpoint does, but have no granularity.
    """
    from agg_pipeline.models.other_models import installed_models
    from agg_pipeline.report.terminal import print_rows

    rows = [(each.name, each.package, each.place) for each in installed_models()]
    print_rows("Models", ("name", "package", "made by"), rows)


@group.command(
    "export",
    epilog=examples(
        "agg model export graco.onnx --format onnx",
        "agg model export graco.pt2 --format torch-export --checkpoint base.pth --adapter adapter.safetensors",
    ),
)
@cloup.argument("target", type=LOCAL_FILE, help="File that is written.")
@option(
    "--format",
    "form",
    type=Choice(["onnx", "onnx-int8", "torch-export"]),
    required=True,
    help="Format of TARGET. onnx: float32. onnx-int8: matrix products in int8. torch-export: for torch.export.load.",
)
@CHECKPOINT
@option(
    "--adapter",
    type=FILE,
    default=None,
    show_default="the built-in adapter for the built-in model, else none",
    help="File of a GraCo adapter for the checkpoint.",
)
@option(
    "--input-size",
    type=Count(1),
    metavar="PIXELS",
    show_default="that of the adapter, or of the checkpoint",
    help="Side of the model's input.",
)
@option("--overwrite", is_flag=True, help="Replace TARGET if it exists.")
def export_command(
    target: Path, form: str, checkpoint: str | None, adapter: str | None, input_size: int | None, overwrite: bool
) -> None:
    """Write a click model and adapter as one file for other programs.

    Its inputs are the image, a list of clicks, the last mask and the granularity; docs/guide/models.md has an example.
    """
    if target.exists() and not overwrite:
        raise UserError(f"{target} exists; --overwrite replaces it")
    from agg_pipeline.models.exported import write_int8_onnx, write_onnx, write_torch_export
    from agg_pipeline.models.model_files import open_model
    from agg_pipeline.models.simpleclick import merge_lora
    from agg_pipeline.storage.local_file import replace_file

    if adapter is None:
        adapter = "" if checkpoint else "built-in"
    network, files, _ = open_model(model_file(checkpoint), adapter_file(adapter), input_size)
    merge_lora(network)
    write = {"onnx": write_onnx, "onnx-int8": write_int8_onnx, "torch-export": write_torch_export}[form]
    with TemporaryDirectory() as folder:
        made = Path(folder) / f"model{SUFFIXES[form]}"
        write(network, made)
        replace_file(target, made.read_bytes())
    say(f"{target} takes images of {files.input_size} x {files.input_size} pixels")
