"""The device of a run, and the workers that hold its model."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from agg_pipeline.execution.cluster import cluster
from agg_pipeline.execution.local_gpus import check_numbers
from agg_pipeline.execution.run_options import RunOptions
from agg_pipeline.execution.scheduling import ask
from agg_pipeline.execution.waiting import say_if_none
from agg_pipeline.execution.workers import Workers
from agg_pipeline.inference.predictor import Predictor
from agg_pipeline.inference.whole_images import WholeImagePredictor, open_click_model
from agg_pipeline.models.backend import VISIBLE, ChosenDevice, choose_device, gpus_of_other_kinds, visible_gpus
from agg_pipeline.models.model_files import ModelFiles
from agg_pipeline.models.other_models import NamedModel
from schemas.canonical import Json
from schemas.config import PredictorConfig
from schemas.devices import CPU, CUDA, device_kind
from schemas.errors import UserError

LOG = logging.getLogger(__name__)


def environment(device: ChosenDevice) -> Json:
    """What else changes a bit of the result: the device, torch's version."""
    return {"device": CPU if device.name == CPU else device.words, "torch": torch.__version__}


def chosen_device(
    config: PredictorConfig, options: RunOptions, say: Callable[[str], None] = lambda _line: None
) -> ChosenDevice:
    """What the workers of a run compute on: what this machine has, or the first worker of an existing cluster.

    Args:
        config: names the device that is asked for.
        options: who does the work.
        say: called with a line to be shown while the first worker is waited for.

    Raises:
        UserError: the device is not there, or does not fit the numbers of workers that are asked for.
    """
    if options.workers_per_gpu and options.scheduler is not None:
        raise UserError(
            "--workers-per-gpu is for workers of this machine, and --scheduler names those of a cluster; leave one out"
        )
    choose = partial(choose_device, config.device)
    if options.scheduler is None or config.device == CPU:
        device: ChosenDevice = choose()
    else:
        # The workers open no model yet, they only say what they have.
        with cluster(options.scheduler, 0, config.threads, choose) as running:
            say_if_none(running, say)
            device = ask(running, _itself)
    check_numbers(device.name, options.workers, options.workers_per_gpu)
    return device


def _itself(device: Any) -> Any:
    return device


def _name_left_out(device: str) -> None:
    """Warn of the GPUs that ``cuda`` leaves out."""
    if device == CUDA:
        for number, name in gpus_of_other_kinds().items():
            LOG.warning(
                "cuda:%d (%s) is not used, because cuda:0 is a %s; choose GPUs by --device cuda:%d or %s",
                *(number, name, torch.cuda.get_device_name(0), number, VISIBLE),
            )


def model_workers(
    model: ModelFiles | NamedModel, predictor: PredictorConfig, options: RunOptions, workers: int
) -> AbstractContextManager[Workers]:
    """A cluster whose workers hold the model of a run.

    Args:
        model: the model.
        predictor: configuration of the model, with the device that was chosen.
        options: say who does the work.
        workers: number of workers on this machine.
    """
    gpus: list[str] = []
    if options.scheduler is None:
        gpus = visible_gpus(predictor.device)
        _name_left_out(predictor.device)
        # A worker sees one of them.
        predictor = replace(predictor, device=device_kind(predictor.device))
    open_model = partial(_opened, model, predictor)
    return cluster(options.scheduler, workers, predictor.threads, open_model, predictor.device, gpus)


def _opened(model: ModelFiles | NamedModel, predictor: PredictorConfig) -> Predictor | WholeImagePredictor:
    """Open the model in a worker, whose log says so."""
    started = time.perf_counter()
    opened = open_click_model(model, predictor)
    seconds = time.perf_counter() - started
    LOG.info("process %d on %s opened the model in %.1f s", os.getpid(), socket.gethostname(), seconds)
    return opened
