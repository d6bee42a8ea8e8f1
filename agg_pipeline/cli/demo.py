"""``agg demo``: a page on which clicks and a slider show what granularity means."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import cloup

from agg_pipeline.cli.model_options import CHECKPOINT, adapter_file
from agg_pipeline.cli.option_groups import examples, gathered, option, options_of
from agg_pipeline.cli.options import Data
from agg_pipeline.cli.places import FILE, PLACE
from agg_pipeline.cli.serving import Serving, check_serving, serve_page
from schemas.errors import UserError

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from agg_pipeline.datasets.dataset import Dataset

SCENES = "24"
"""Generated scenes that the page offers where nothing else is asked for."""


@cloup.command(
    "demo",
    epilog=examples(
        "agg demo --image ~/photographs",
        "agg demo --checkpoint base.pth --adapter adapter.safetensors --dataset sbd --data ~/sbd --split val",
    ),
)
@cloup.option_group(
    "Model",
    CHECKPOINT,
    option(
        "--adapter",
        type=FILE,
        default=None,
        show_default="the built-in adapter for the built-in model, else none",
        help="File of a GraCo adapter for the checkpoint. built-in: the adapter of the built-in model.",
    ),
    option("--device", default="auto", metavar="DEVICE", help="auto, cpu, cuda or cuda:N."),
)
@cloup.option_group(
    "Images",
    option(
        "--image",
        "folder",
        type=PLACE,
        metavar="FOLDER",
        show_default="none",
        help="Folder of photographs that the page offers.",
    ),
    *options_of(Data),
)
@cloup.option_group("Page", *options_of(Serving))
@gathered(data=Data, serving=Serving)
def group(
    checkpoint: str | None,
    adapter: str | None,
    device: str,
    folder: str | None,
    data: Data,
    serving: Serving,
) -> None:
    """Try a click model in the browser.

    A click makes a mask, a slider sets its granularity. Images are those of a data set, of a folder, or the visitor's.
    """
    chosen = (data.data, data.split, data.exclude_list, data.classes, data.skip_classes)
    if folder is not None and (data.dataset != "demo" or any(chosen)):
        raise UserError("give --image or a data set, not both")
    check_serving(serving)

    def make() -> ASGIApp:
        from agg_pipeline.inference.interactive import load_model
        from agg_pipeline.web.demo_app import DemoApp
        from agg_pipeline.web.picture_sources import of_dataset, of_folder

        source = of_folder(Path(folder)) if folder is not None else of_dataset(_listed(data))
        name = Path(checkpoint).name if checkpoint else "the built-in model"
        # Without the option, the built-in model has its adapter.
        file = None if adapter is None else adapter_file(adapter)
        return DemoApp(load_model(checkpoint, file, device=device), source, name).app()

    serve_page(make, serving)


def _listed(data: Data) -> Dataset:
    return data.open(SCENES if data.dataset == "demo" and data.split is None else None)
