"""``agg eval``: evaluate click models and compare results."""

from __future__ import annotations

import cloup

from agg_pipeline.cli.eval.adapted import adapted_command
from agg_pipeline.cli.eval.compare import compare_command
from agg_pipeline.cli.eval.run import run_command
from agg_pipeline.cli.eval.table import table_command


@cloup.group("eval")
def group() -> None:
    """Evaluate click models and compare results."""


for command in (run_command, adapted_command, compare_command, table_command):
    group.add_command(command)
