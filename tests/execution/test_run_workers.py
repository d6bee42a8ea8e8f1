"""The device of a run and what is said of it, with real workers of a cluster."""

import logging
import re
from types import SimpleNamespace

import pytest
from distributed import LocalCluster

from agg_pipeline.execution import run_workers
from agg_pipeline.execution.run_options import RunOptions
from agg_pipeline.execution.run_workers import chosen_device, model_workers
from agg_pipeline.execution.waiting import ready
from schemas.config import PredictorConfig
from schemas.errors import UserError

AUTO = PredictorConfig(device="auto")


def scheduler(processes):
    return LocalCluster(n_workers=0, threads_per_worker=2, memory_limit=0, dashboard_address=None, processes=processes)


def test_a_cluster_without_workers_is_named_at_once():
    said = []
    with scheduler(processes=True) as local:

        def say(line):
            said.append(line)
            local.scale(1)

        device = chosen_device(AUTO, RunOptions("out", scheduler=local.scheduler_address), say)
    assert said == ["the Dask cluster has no worker yet; waiting for one"]
    assert device.name == "cpu"


def test_the_log_tells_of_the_model_and_not_of_the_choice_of_a_device(monkeypatch, caplog):
    caplog.set_level(logging.INFO, logger="agg_pipeline")
    with scheduler(processes=False) as local:
        local.scale(1)
        options = RunOptions("out", scheduler=local.scheduler_address)
        chosen_device(AUTO, options)
        assert not re.search("opened the model|the workers have", caplog.text)
        monkeypatch.setattr(run_workers, "open_click_model", lambda _model, _config: None)
        with model_workers(None, AUTO, options, 0) as running:
            ready(running)
    assert "opened the model in 0.0 s" in caplog.text
    assert "the workers have" in caplog.text


def test_workers_of_a_gpu_are_not_those_of_a_cluster():
    options = RunOptions("out", workers_per_gpu=2, scheduler="tcp://a:1")
    with pytest.raises(UserError, match=r"^--workers-per-gpu is for workers of this machine, and --scheduler names"):
        chosen_device(AUTO, options)


def test_numbers_of_workers_are_checked_with_the_device():
    with pytest.raises(UserError, match=r"^--workers-per-gpu has no effect"):
        chosen_device(PredictorConfig(device="cpu"), RunOptions("out", workers_per_gpu=2))


def test_gpus_of_other_kinds_are_named(monkeypatch, caplog):
    monkeypatch.setattr(run_workers, "gpus_of_other_kinds", lambda: {1: "A100"})
    monkeypatch.setattr(run_workers, "visible_gpus", lambda _device: ["0"])
    monkeypatch.setattr(run_workers.torch.cuda, "get_device_name", lambda _number: "H100")
    monkeypatch.setattr(run_workers, "cluster", lambda *arguments: SimpleNamespace(gpus=arguments[-1]))
    started = model_workers(None, PredictorConfig(device="cuda"), RunOptions("out"), 4)
    assert started.gpus == ["0"]
    assert "cuda:1 (A100) is not used, because cuda:0 is a H100; choose GPUs by --device cuda:1 or CUDA_" in caplog.text
