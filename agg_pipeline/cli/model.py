"""``agg model``: models other than click models' files."""

from __future__ import annotations

import cloup

from agg_pipeline.cli.option_groups import examples


@cloup.group("model")
def group() -> None:
    """List the models that --model names."""


@group.command("list", epilog=examples("agg model list", "agg model list | grep sam"))
def list_command() -> None:
    """List the models that --model names, and the packages that add them.

    They segment by clicks, as the file of --checkpoint does, but have no granularity.
    """
    from agg_pipeline.models.other_models import installed_models
    from agg_pipeline.report.terminal import print_rows

    rows = [(each.name, each.package, each.place) for each in installed_models()]
    print_rows("Models", ("name", "package", "made by"), rows)
