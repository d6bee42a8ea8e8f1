"""Fixtures of other folders that tests of commands use, too."""

from tests.datasets.conftest import parts_mini
from tests.training.conftest import config, data, proposals

__all__ = ["config", "data", "parts_mini", "proposals"]
