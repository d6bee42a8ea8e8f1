"""GraCo proposals: runs the any-granularity mask generator over data sets and reads what it wrote."""

from agg_pipeline.reader import open_proposals

__all__ = ["open_proposals"]
