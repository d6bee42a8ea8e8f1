"""One browser for each module, and the folder that it saves files in."""

import pytest

from tests.web.browser import chromium


@pytest.fixture(scope="module")
def downloads(tmp_path_factory):
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def window(downloads):
    with chromium(downloads) as window:
        yield window
