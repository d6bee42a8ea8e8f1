"""Rewrite a checkpoint as fp16 safetensors: ``python -m agg_pipeline.models.convert IN OUT``.

The file becomes half as large as a released one, and nothing in it has to be unpickled.
"""

from __future__ import annotations

from pathlib import Path

import click

from agg_pipeline.models.checkpoints import load_click_model, save_click_model
from schemas.errors import UserError
from schemas.words import printable


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--full", is_flag=True, help="Keep float32 instead of fp16.")
def convert(source: Path, target: Path, full: bool) -> None:
    """Write the click model in SOURCE (.pth or .safetensors) to TARGET as safetensors."""
    try:
        model, info = load_click_model(source)
        save_click_model(target, model, half=not full)
    except UserError as error:
        raise click.ClickException(printable(str(error))) from None
    size = target.stat().st_size
    click.echo(printable(f"{target}: {info.architecture}, input {info.input_size}, {size} bytes"))


if __name__ == "__main__":
    convert()
