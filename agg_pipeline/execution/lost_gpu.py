"""A GPU that fails while a worker computes on it: the run gives that worker nothing more, and others do its work.

A process whose GPU has failed can use no GPU any more.
"""

from __future__ import annotations

from schemas.errors import StoppedError, out_of_memory


class LostGpuError(StoppedError):
    """A worker's GPU has failed; another worker can make the shard.

    Args:
        said: what has happened.
        address: address of the worker.
    """

    def __init__(self, said: str, address: str = "") -> None:
        super().__init__(said, address)
        self.address = address

    def __str__(self) -> str:
        """What has happened."""
        return str(self.args[0])


def gpu_failed(error: BaseException) -> bool:
    """Whether an error of torch says that the GPU cannot be used any more, and not only that its memory is full."""
    # torch.AcceleratorError is one, too.
    return isinstance(error, RuntimeError) and "CUDA error" in str(error) and not out_of_memory(error)
