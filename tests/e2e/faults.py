"""Loaded into Dask workers by the fault tests (Dask's own preload setting): kills or stalls them at a chosen point.

FAULTS names a folder. A file ``kill-<stage>`` in it is an order to die when that stage is reached; the worker turns it
into ``killed-<stage>`` first, so that it happens once and leaves a proof. ``kill-always-<image id>`` is never used up.
``stall-write`` makes a worker wait in the middle of writing a shard, and leave ``stalled-write``.
"""

import os
import signal
import time
from pathlib import Path

STAGES = ("load", "mask_engine", "postprocess", "complement", "granularity", "write")
EVALUATION_STAGES = ("load", "interactions", "write")


def dask_setup(worker):  # noqa: ARG001
    """Dask calls this in every new worker."""
    from agg_pipeline.evaluation import interactions
    from agg_pipeline.proposals import pipeline
    from agg_pipeline.storage.store import Store
    from schemas.presets import PRESETS

    orders = Path(os.environ["FAULTS"])

    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    def obey(stage):
        try:
            (orders / f"kill-{stage}").rename(orders / f"killed-{stage}")
        except FileNotFoundError:
            return
        die()

    def faulty(stage, function):
        def wrapped(*args):
            obey(stage)
            if stage == "load":
                for entry in args[0].entries:
                    if (orders / f"kill-always-{entry.image_id}").exists() and entry.image_id not in args[0].excluded:
                        die()
            return function(*args)

        return wrapped

    pipeline.load = faulty("load", pipeline.load)
    for stage in ("mask_engine", "postprocess", "complement", "granularity"):
        setattr(pipeline, f"run_{stage}", faulty(stage, getattr(pipeline, f"run_{stage}")))

    interactions.load = faulty("load", interactions.load)
    interactions.run_interactions = faulty("interactions", interactions.run_interactions)

    write = Store.write

    def faulty_write(self, path, content):
        # The second of a shard's files: half of the shard is on disk, its sidecar is not.
        if path.startswith(("images/", "targets/")):
            obey("write")
            try:
                (orders / "stall-write").rename(orders / "stalled-write")
            except FileNotFoundError:
                pass
            else:
                time.sleep(600)
        write(self, path, content)

    Store.write = faulty_write
    stages = pipeline.chain(PRESETS["paper"]).stages
    assert (*(stage.name for stage in stages), "write") == STAGES
