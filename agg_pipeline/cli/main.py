"""The ``agg`` command; its groups are imported when they are used."""

from __future__ import annotations

import errno
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import cloup

from agg_pipeline.cli.last_words import end_of_error, end_without_memory, is_of_output, last_words
from agg_pipeline.cli.option_groups import option
from agg_pipeline.cli.run_log import show_messages
from agg_pipeline.execution.interrupts import watch_interrupts
from agg_pipeline.storage.temporary_folder import lacks_folder, no_temporary_files
from schemas.errors import UserError, out_of_memory
from schemas.numbers import whole_number

# Threads of torch that wait for each other leave their core to other processes: five times faster on a shared machine.
# It must be set before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

GROUPS = {
    "adapter": "Convert adapters to and from other formats.",
    "data": "Look at data sets and check them.",
    "database": "Check, describe and combine proposal databases.",
    "demo": "Try a click model in the browser.",
    "doctor": "Check this installation and this machine.",
    "eval": "Evaluate click models and compare results.",
    "finetune": "Teach a click model to follow a granularity (GCL).",
    "model": "List other models, and export click models for other programs.",
    "pretrain": "Teach a click model to segment whole objects.",
    "proposals": "Make, check and describe proposal databases (AGG).",
    "study": "Make proposals, train, evaluate, and write a report.",
    "view": "Look at the masks of proposal databases in the browser.",
}
"""Each is ``group`` in the module of its name; the line is the first one of its help."""

EPILOG = """\b
Examples:
  agg proposals run --out runs/demo
  agg finetune --help

\b
Shell completion: add the line of your shell to its start-up file.
  bash  eval "$(_AGG_COMPLETE=bash_source agg)"
  zsh   eval "$(_AGG_COMPLETE=zsh_source agg)"
  fish  _AGG_COMPLETE=fish_source agg | source
"""
"""End of the help of ``agg``."""

LARGEST_TERMINAL = 10_000
"""Most columns and lines of a terminal that are believed."""
STOPPED = 130
"""Exit code of a command that was stopped by a signal."""
SETTINGS = {"help_option_names": ["-h", "--help"], "show_default": True, "max_content_width": 100}


class Groups(cloup.Group):
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

    def handle_bad_command_name(
        self,
        bad_name: str,
        valid_names: list[str],  # noqa: ARG002
        error: click.UsageError,
    ) -> click.UsageError:
        """The error of an unknown group, with the name that was probably meant."""
        return super().handle_bad_command_name(bad_name, list(GROUPS), error)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the chosen command."""
        try:
            return super().invoke(ctx)
        except click.exceptions.NoArgsIsHelpError:
            raise
        except (UserError, click.ClickException) as error:
            if ctx.params.get("debug"):
                raise
            # click puts possible values on lines of their own.
            message = " ".join(error.format_message().split()) if isinstance(error, click.ClickException) else error
            last_words(f"error: {message}")
            sys.exit(2)
        except KeyboardInterrupt:
            last_words("stopped")
            sys.exit(STOPPED)
        except OSError as error:
            if ctx.params.get("debug"):
                if error.errno == errno.EPIPE and not is_of_output(error):
                    # click takes it for an output whose reader has left.
                    raise RuntimeError(str(error)) from error
                raise
            if out_of_memory(error):
                end_without_memory()
            if lacks_folder(error):
                last_words(f"error: {no_temporary_files(error)}")
                sys.exit(2)
            end_of_error(error)
        except Exception as error:
            if ctx.params.get("debug") or not out_of_memory(error):
                raise
            end_without_memory()


@cloup.group(cls=Groups, epilog=EPILOG, context_settings=SETTINGS)
@option("--debug", is_flag=True, help="Show the traceback of an error.")
@option(
    "-v",
    "--verbose",
    count=True,
    show_default="warnings only",
    help="Also print what the program does. -vv: in more detail.",
)
@click.version_option(package_name="agg-pipeline", prog_name="agg")
def main(debug: bool, verbose: int) -> None:  # noqa: ARG001  # Groups.invoke reads debug
    """GraCo: make masks of every granularity from object masks, and train click models that a number controls."""
    _check_working_folder()
    _forget_odd_sizes()
    watch_interrupts()
    show_messages(verbose)


def _check_working_folder() -> None:
    """UserError if the working folder is gone: what torch says of it does not name it, and ends the process."""
    try:
        Path.cwd()
    except FileNotFoundError as error:
        raise UserError("the working folder does not exist any more; change to another folder") from error


def _forget_odd_sizes() -> None:
    """Leave out what the environment says of the terminal's size where it is no such number: rich would fail on it."""
    for name in ("COLUMNS", "LINES"):
        size = whole_number(os.environ.get(name, "1"))
        if size is None or size > LARGEST_TERMINAL:
            del os.environ[name]
