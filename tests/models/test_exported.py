"""Click models for other programs: the same probabilities, whatever batch and clicks."""

import numpy as np
import pytest
import torch

from agg_pipeline.models.adapter import Adapter, table_row
from agg_pipeline.models.architecture import ARCHITECTURES
from agg_pipeline.models.exported import INPUTS, ClickFunction, example_inputs, write_onnx, write_torch_export
from agg_pipeline.models.simpleclick import SimpleClick, attach_adapter, draw_disks
from tests.e2e.commands import error_of, invoke

SIZE = 64


@pytest.fixture(scope="module", params=[True, False], ids=["adapter", "base"])
def network(request):
    torch.manual_seed(0)
    network = SimpleClick(ARCHITECTURES["xtiny"], SIZE).eval()
    if request.param:
        adapter = Adapter(network.arch.dim, network.arch.depth, 0, "qv")
        torch.nn.init.normal_(adapter.table)
        attach_adapter(network, adapter)
    return network


def inputs(network, batch, clicks):
    """Images, clicks of both kinds and padding, last masks and granularities, also none."""
    generator = torch.Generator().manual_seed(batch + clicks)
    places = torch.rand(batch, clicks, 3, generator=generator) * SIZE
    places[:, :, 2] = torch.arange(batch * clicks).view(batch, clicks) % 3 - 1
    values = (
        torch.rand(batch, 3, SIZE, SIZE, generator=generator),
        places,
        torch.rand(batch, 1, SIZE, SIZE, generator=generator),
        torch.linspace(-0.2, 1.0, batch),
    )
    named = dict(zip(INPUTS, values, strict=True))
    return named if network.has_granularity else {name: named[name] for name in INPUTS[:-1]}


def expected(network, image, clicks, previous_mask, granularity=None):
    """What the network itself says of clicks that are drawn as the predictor draws them."""
    coords = torch.zeros(len(image), 3, SIZE, SIZE)
    coords[:, :1] = previous_mask
    for maps, own in zip(coords.numpy(), clicks.tolist(), strict=True):
        draw_disks(maps[1:], [(row, col, label == 1) for row, col, label in own if label >= 0])
    bins = None
    if granularity is not None:
        bins = torch.tensor([table_row(None if value < 0 else value) for value in granularity.tolist()])
    with torch.no_grad():
        return torch.sigmoid(network(image, coords, bins))


@pytest.mark.parametrize(("batch", "clicks"), [(1, 1), (3, 4)])
def test_the_function_draws_clicks_as_the_predictor_does(network, batch, clicks):
    given = inputs(network, batch, clicks)
    with torch.no_grad():
        found = ClickFunction(network)(**given)
    torch.testing.assert_close(found, expected(network, **given), rtol=0, atol=1e-5)


def test_every_granularity_has_its_row():
    # In float32 the product with 10 is the decimal one, also halfway between two rows.
    values = [-1.0, *(n / 20 for n in range(21)), 0.04, 0.149, 0.951]
    rows = ClickFunction._bins(torch.tensor(values)).tolist()
    assert rows == [table_row(None if value < 0 else value) for value in values]


def test_a_torch_export_file_takes_any_batch(network, tmp_path):
    write_torch_export(network, tmp_path / "model.pt2")
    loaded = torch.export.load(tmp_path / "model.pt2").module()
    for batch, clicks in ((1, 1), (4, 2)):
        given = inputs(network, batch, clicks)
        with torch.no_grad():
            found = loaded(**given)
        torch.testing.assert_close(found, expected(network, **given), rtol=0, atol=1e-5)


def test_an_onnx_file_takes_any_batch(network, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    write_onnx(network, tmp_path / "model.onnx")
    session = runtime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    assert {each.name for each in session.get_inputs()} == set(inputs(network, 1, 1))
    for batch, clicks in ((1, 1), (4, 2)):
        given = inputs(network, batch, clicks)
        (found,) = session.run(None, {name: each.numpy() for name, each in given.items()})
        np.testing.assert_allclose(found, expected(network, **given).numpy(), rtol=0, atol=1e-3)


def test_the_example_is_one_click_and_padding(network):
    image, clicks, previous, *granularity = example_inputs(network).values()
    assert image.shape == (2, 3, SIZE, SIZE) and previous.shape == (2, 1, SIZE, SIZE)
    assert [each.shape for each in granularity] == ([(2,)] if network.has_granularity else [])
    assert clicks[0].tolist() == [[32, 32, 1], [-1, -1, -1], [-1, -1, -1]]


def test_files_are_not_replaced_without_a_word(tmp_path):
    target = tmp_path / "model.pt2"
    target.write_text("mine")
    assert "--overwrite replaces it" in error_of(invoke("model", "export", target, "--format", "torch-export"))
    assert target.read_text() == "mine"


def test_a_checkpoint_that_is_none_is_one_line(tmp_path):
    (tmp_path / "x.pth").write_text("nothing")
    done = invoke("model", "export", tmp_path / "m.pt2", "--format", "torch-export", "--checkpoint", tmp_path / "x.pth")
    assert "x.pth" in error_of(done) and not (tmp_path / "m.pt2").exists()
