"""``agg``, and ``python -m agg_pipeline.cli``."""

from agg_pipeline.cli.foreign import refuse_foreign_packages


def run() -> None:
    """Run the command."""
    refuse_foreign_packages()
    from agg_pipeline.cli.main import main

    main(prog_name="agg")


if __name__ == "__main__":
    run()
