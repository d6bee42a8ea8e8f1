"""Data sets: a reader per published layout, the registry, selection, and survey."""
