"""``agg``, and ``python -m agg_pipeline.cli``."""

import sys

from agg_pipeline.cli.foreign import refuse_foreign_packages


def run() -> None:
    """Run the command."""
    try:
        _run()
    except KeyboardInterrupt:
        # The modules of the command are still being imported, with all that explains errors.
        print("stopped", file=sys.stderr)
        sys.exit(130)


def _run() -> None:
    refuse_foreign_packages()
    from agg_pipeline.cli.last_words import end_of_error
    from agg_pipeline.cli.main import STOPPED, main
    from agg_pipeline.execution.interrupts import ignore_interrupts

    try:
        main(prog_name="agg")
    except SystemExit as ended:
        if ended.code == STOPPED:
            # The last line is printed; a further Ctrl-C would only change the exit code.
            ignore_interrupts()
        raise
    except OSError as error:
        # Help and error messages are printed before there is a command.
        end_of_error(error)


if __name__ == "__main__":
    run()
