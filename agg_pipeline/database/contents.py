"""What lies in a proposal database."""

from __future__ import annotations

from agg_pipeline.execution.shard_files import Layout
from schemas.documents import ProposalCounts
from schemas.tables import FILES, FORMAT_MINOR, FORMAT_VERSION

DATABASE = "database"
"""Folder of the database, below the output folder of a run."""
MANIFEST = "manifest.json"
SAMPLING_FILE = "sampling.parquet"
CARD = "README.md"
"""The dataset card."""
CROISSANT = "croissant.json"
"""What the database is, for the programs that read Croissant."""
CITATION = "CITATION.cff"
"""How to cite the database; people add their names."""

DATABASE_LAYOUT = Layout(
    what="a proposal database",
    version=FORMAT_VERSION,
    minor=FORMAT_MINOR,
    algorithm_version=2,
    folders=tuple(FILES),
    counts=ProposalCounts,
    summaries=(MANIFEST, SAMPLING_FILE, CARD, CROISSANT, CITATION),
)
