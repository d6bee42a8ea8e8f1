"""``python -m agg_pipeline.cli``."""

from agg_pipeline.cli.main import main

main(prog_name="agg")
