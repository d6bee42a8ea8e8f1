"""Running a chain of stages over shards on a Dask cluster, and resuming."""
