"""Every command of ``agg``, for tests that hold something of all of them."""

import click

from agg_pipeline.cli.main import main


def every(command=main, path=()):
    """(words, command) of every command and group, ``agg`` itself first."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            # Old names, which no help shows.
            if not found.hidden:
                yield from every(found, (*path, name))


COMMANDS = {" ".join(path): command for path, command in every()}
LEAVES = {path: command for path, command in COMMANDS.items() if not isinstance(command, click.Group)}
