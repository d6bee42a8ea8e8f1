"""What lives in a worker process: the model of a run, its two executors, and the check that the worker may work."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import torch
from distributed import Worker, WorkerPlugin, get_worker

from agg_pipeline.execution.chain import TimedModel
from agg_pipeline.execution.lost_gpu import LostGpuError, gpu_failed
from agg_pipeline.execution.worker_facts import Facts, difference, machine_facts, program_facts
from agg_pipeline.execution.worker_logs import SentLog
from agg_pipeline.models.backend import NoGpuError
from schemas.errors import StoppedError, StorageError, UserError, out_of_memory
from schemas.words import excerpt

SAME_PACKAGE = "every worker needs the same versions of agg-pipeline and of the packages that it uses"
SEE_LOG = f"{SAME_PACKAGE}; its log says more"
"""The same, where the cause is not known."""

OpenModel = Callable[[], Any]
"""Makes the model in a worker process, a ``TimedModel`` for the tasks of a chain. Must be picklable."""


class ModelPlugin(WorkerPlugin):  # type: ignore[misc]  # distributed is not typed
    """Gives every worker its model and the two executors, also a worker that joins late or replaces a dead one.

    Args:
        run: unique name of the run, so that several runs can share a cluster.
        open_model: makes the model.
        threads: number of torch threads of the model.
        device: device on which the model runs.
        program: what the process that starts the run says of itself (``program_facts``).
    """

    def __init__(self, run: str, open_model: OpenModel, threads: int, device: str, program: Facts) -> None:
        self.name = run
        self.open_model = open_model
        self.threads = threads
        self.device = device
        self.program = program

    def setup(self, worker: Worker) -> None:
        """Called by Dask in every new worker process. It returns at once; the model is opened in its own thread.

        A worker that cannot work says so in its first task. An exception here would close the worker, and a worker
        that joins late would do so without a word to the run.
        """
        cv2.setNumThreads(1)
        self.log = SentLog(worker, self.name)
        self.log.begin()
        set_threads = torch.set_num_threads
        model_thread = ThreadPoolExecutor(1, "agg-model", initializer=set_threads, initargs=(self.threads,))
        worker.executors[f"model-{self.name}"] = model_thread
        worker.executors[f"cpu-{self.name}"] = ThreadPoolExecutor(1, "agg-cpu", initializer=set_threads, initargs=(1,))
        self.address = worker.address
        self.opening = model_thread.submit(self._open)

    def teardown(self, worker: Worker) -> None:
        """Called by Dask at the end of the run or of the worker."""
        for kind in ("model", "cpu"):
            executor = worker.executors.pop(f"{kind}-{self.name}", None)
            if executor is not None:
                executor.shutdown(wait=False)
        self.log.close()

    def _open(self) -> TimedModel:
        other = difference(self.program, program_facts())
        if other:
            raise UserError(f"another program than in the process that started the run: {other}; {SAME_PACKAGE}")
        model: TimedModel = self.open_model()
        return model

    def model(self, worked: bool = False) -> TimedModel:
        """The worker's model, when it has been opened.

        Args:
            worked: whether a worker of the run has opened it before.

        Raises:
            LostGpuError: the worker's GPU has failed, as when its process was replaced because of that.
            UserError: the worker runs another program, or cannot open the model.
        """
        try:
            return self.opening.result()
        except NoGpuError as error:
            if worked:
                raise LostGpuError(f"worker {self.address} finds no GPU that it can use", self.address) from None
            raise _of_worker(error, self.address) from None
        except UserError as error:
            raise _of_worker(error, self.address) from None
        except Exception as error:
            if out_of_memory(error):
                few = "use fewer --workers or --workers-per-gpu"
                raise UserError(f"worker {self.address} has too little memory for the model; {few}") from None
            if gpu_failed(error):
                said = excerpt(str(error).splitlines()[0])
                raise LostGpuError(f"worker {self.address} cannot open the model ({said})", self.address) from None
            raise UserError(f"worker {self.address} cannot open the model ({error!r}); {SEE_LOG}") from error

    def check(self, machine: Facts) -> None:
        """UserError if the worker's machine differs from that of the run's first worker."""
        other = difference(machine, machine_facts(self.device))
        if other:
            raise UserError(
                f"worker {self.address} computes other bytes than the first worker of the run: {other}; use workers of "
                "one kind"
            )


def model_of(run: str) -> TimedModel:
    """The model of the worker that runs this task."""
    return _plugin(run).model()


def machine_of(run: str) -> dict[str, str]:
    """What is compared of the worker that runs this task; its model has been opened."""
    plugin = _plugin(run)
    plugin.model()
    return machine_facts(plugin.device)


def run_in_worker(run: str, machine: Facts, function: Callable[..., Any], *args: Any) -> Any:
    """Run a task in a worker that may work for the run.

    Args:
        run: name of the run.
        machine: what the run's first worker said of its machine; empty if nothing is known yet.
        function: what the task runs.
        args: its arguments.

    Raises:
        UserError: the worker may not work for the run, or finds that the run has lost its folder. The message names the
            worker, because others may see other files.
        StorageError: a file cannot be read or written by this worker.
    """
    plugin = _plugin(run)
    plugin.model(worked=bool(machine))
    plugin.check(machine)
    try:
        return function(*args)
    except UserError as error:
        found = _of_worker(error, plugin.address)
    # Out here it has no cause. Dask would send that along, and the errors of some libraries cannot be sent.
    raise found


def send(run: str, message: Any) -> None:
    """Send a message from a task to the process that started the run. It is lost if the worker dies."""
    get_worker().log_event(run, message)


def _plugin(run: str) -> ModelPlugin:
    plugin: ModelPlugin = get_worker().plugins[run]
    return plugin


def _of_worker(error: UserError, address: str) -> UserError:
    """The same error, which names the worker."""
    if isinstance(error, LostGpuError):
        return LostGpuError(f"worker {address}: {error}", address)
    kind = next((kind for kind in (StorageError, StoppedError) if isinstance(error, kind)), UserError)
    return kind(f"worker {address}: {error}")
