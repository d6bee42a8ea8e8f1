"""The ``agg`` command; its groups are imported when they are used, because some of them need torch."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

import click

from schemas.errors import UserError

# Threads of torch that wait for each other leave their core to other processes: five times faster on a shared machine.
# It must be set before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

GROUPS = {
    "adapter": "Read and write adapters of other programs.",
    "data": "Look at data sets and check them.",
    "doctor": "Check this installation and this machine.",
    "finetune": "Teach a click model to follow a granularity (GCL).",
    "eval": "Evaluate click models by the field's protocol, and compare results.",
    "pretrain": "Teach a click model whole objects.",
    "study": "Fine-tune from several sources, evaluate on several sets, report.",
    "proposals": "Make, check and describe proposal databases (AGG).",
}
"""Each is ``group`` in the module of its name."""


class Groups(click.Group):
    """Turns errors that a user can mend into one line and an exit code; ``--debug`` shows the traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Names of the groups."""
        return sorted(GROUPS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """A group by its name."""
        if cmd_name not in GROUPS:
            return None
        group: click.Command = import_module(f"agg_pipeline.cli.{cmd_name}").group
        return group

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The groups with one line each."""
        with formatter.section("Commands"):
            formatter.write_dl(sorted(GROUPS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        """Run the chosen command."""
        try:
            return super().invoke(ctx)
        except click.exceptions.NoArgsIsHelpError:
            raise
        except (UserError, click.ClickException) as error:
            if ctx.params.get("debug"):
                raise
            message = error.format_message() if isinstance(error, click.ClickException) else error
            click.echo(f"error: {message}", err=True)
            sys.exit(2)
        except KeyboardInterrupt:
            click.echo("stopped", err=True)
            sys.exit(130)


@click.group(cls=Groups, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def main(debug: bool) -> None:
    """GraCo: masks of any granularity from object masks, and models that are controlled by a number."""
