"""``agg demo`` and ``agg view``: what they refuse before they serve, and a folder of photographs that they do."""

import urllib.request

import cv2
import numpy as np
import pytest
from starlette.testclient import TestClient

from agg_pipeline.cli import demo
from tests.e2e.commands import error_of, invoke
from tests.web.browser import served


def test_a_folder_of_photographs_is_served(tmp_path):
    cv2.imwrite(str(tmp_path / "mine.png"), np.zeros((20, 30, 3), np.uint8))
    with served("demo", "--image", str(tmp_path), "--device", "cpu") as address:
        assert b'"images":["mine.png"]' in urllib.request.urlopen(f"{address}api/facts").read()


@pytest.mark.parametrize(
    ("words", "granularities"), [((), 10), (("--adapter", "built-in"), 10), (("--adapter", ""), 0)]
)
def test_adapters_are_named_as_in_an_evaluation(words, granularities, monkeypatch):
    served_apps = []
    monkeypatch.setattr(demo, "serve_page", lambda make, _serving: served_apps.append(make()))
    assert invoke("demo", "--split", "1", "--device", "cpu", *words).code in (0, None)
    with TestClient(served_apps[0], "http://localhost") as client:
        assert len(client.get("/api/facts").json()["granularities"]) == granularities


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("--image", "x", "--dataset", "sbd"), "give --image or a data set, not both"),
        (("--image", "x", "--split", "3"), "give --image or a data set, not both"),
        (("--image", "/nowhere"), "there is no folder /nowhere"),
        (("--host", "0.0.0.0"), "give a --token"),
        (("--token", "short"), "--token must have at least 8 characters"),
    ],
)
def test_what_cannot_be_served_is_refused(words, problem):
    assert problem in error_of(invoke("demo", *words))


def test_a_page_of_databases_needs_databases(tmp_path):
    assert "is not a proposal database" in error_of(invoke("view", tmp_path))
