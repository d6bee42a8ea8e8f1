"""RITM's networks against outputs of the published program with made-up weights."""

import json

import numpy as np
import pytest
import torch

from agg_pipeline.models.ritm import VARIANTS, Ritm
from agg_pipeline.models.simpleclick import draw_disks
from tests.models.ritm_weights import made_up

pytestmark = pytest.mark.golden

TOLERANCE = 1e-4
"""Largest difference, as a share of the largest recorded value."""


@pytest.fixture(scope="module")
def recorded(shared):
    folder = shared / "golden"
    if not (folder / "ritm.npz").is_file():
        pytest.skip("needs ../shared/golden/ritm.npz")
    return np.load(folder / "ritm.npz"), json.loads((folder / "ritm_keys.json").read_text())


@pytest.mark.parametrize("name", VARIANTS)
def test_recorded_logits(recorded, name):
    data, keys = recorded
    network = Ritm(VARIANTS[name]).eval()
    assert {key: list(value.shape) for key, value in network.state_dict().items()} == keys[name]
    network.load_state_dict(made_up(keys[name]))
    image = torch.from_numpy(data["image"]).float().div(255)
    coords = torch.zeros(3, *image.shape[1:])
    coords[0] = torch.from_numpy(data["prev"])[0]
    points = data["points"][0].tolist()
    draw_disks(coords[1:].numpy(), [(row, col, number < 2) for number, (row, col, _) in enumerate(points)])
    with torch.inference_mode():
        found = network(image[None], coords[None])
    for values, kind in ((found.main, "logits"), (found.auxiliary, "aux")):
        expected = data[f"{name}_{kind}"]
        error = np.abs(values[0, 0, ::2, ::2].numpy() - expected).max() / np.abs(expected).max()
        assert error <= TOLERANCE, f"{kind}: {error:.2g}"
