"""``agg``, and ``python -m agg_pipeline.cli``."""

from agg_pipeline.cli.foreign import refuse_foreign_packages


def run() -> None:
    """Run the command."""
    refuse_foreign_packages()
    from agg_pipeline.cli.last_words import end_without_output
    from agg_pipeline.cli.main import main

    try:
        main(prog_name="agg")
    except OSError as error:
        # Help and error messages are printed before there is a command.
        end_without_output(error)


if __name__ == "__main__":
    run()
