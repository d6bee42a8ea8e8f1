"""The built-in demo data set: generated scenes of articulated objects with exact object and part masks."""

from agg_pipeline.demo.scene import Scene, render

__all__ = ["Scene", "render"]
