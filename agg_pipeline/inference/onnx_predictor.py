"""An exported ONNX file as a click model, with our zoom-in around it: to measure what an export keeps."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from agg_pipeline.inference.network_inputs import InputClick, input_clicks, input_image, input_mask
from agg_pipeline.inference.region_of_interest import next_roi
from agg_pipeline.inference.resizing import resized
from agg_pipeline.models.exported import INPUTS, INSTALL, OUTPUT, PADDING
from agg_pipeline.models.other_models import PATH, MapAndRegion, ModelFacts, check_arguments, number_argument
from agg_pipeline.storage.local_file import read_file
from schemas.errors import UserError, out_of_memory
from schemas.limits import ONNX_BYTES
from schemas.records import Interaction
from schemas.words import excerpt, few_of, printable

NAME = "onnx"
GRANULARITY = "granularity"
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
"""What computes on a kind of device, by onnxruntime's names."""


class OnnxPredictor:
    """A session with zoom-in and paste-back as the predictor has them, without the mirrored image.

    Args:
        session: an InferenceSession of onnxruntime over an exported file.
        facts: what the model says of itself; its ``input_size`` is the side of the file's input.
        granularity: given with all clicks; None for a file without this input.
        name: of the file, for messages.

    Attributes:
        facts: what the model says of itself.
    """

    def __init__(self, session: Any, facts: ModelFacts, granularity: float | None, name: str) -> None:
        self.facts = facts
        self._session = session
        self._granularity = granularity
        self._name = name

    def predict(self, interactions: Sequence[Interaction]) -> list[MapAndRegion]:
        """Predict the foreground of interactions over images of any size, all at once.

        Args:
            interactions: with their clicks and the state that earlier predictions left.

        Returns:
            Probabilities per interaction, 0 outside its region, and the region.

        Raises:
            UserError: onnxruntime cannot run the file, or its values are not finite.
        """
        side = self.facts.input_size
        boxes = [next_roi(each) for each in interactions]
        pairs = list(zip(interactions, boxes, strict=True))
        given = {
            "image": np.stack([input_image(each.image, box, side, side) for each, box in pairs]),
            "clicks": _padded([input_clicks(each.clicks, box, side, side) for each, box in pairs]),
            "previous_mask": np.stack([input_mask(each.prompt, box, side, side)[None] for each, box in pairs]),
        }
        if self._granularity is not None:
            given[GRANULARITY] = np.full(len(pairs), self._granularity, np.float32)
        answers: list[MapAndRegion] = []
        for values, (each, box) in zip(self._run(given), pairs, strict=True):
            found = np.zeros(each.image.shape[:2], np.float32)
            found[box.slices] = resized(values, box.height, box.width)
            answers.append(MapAndRegion(found, box))
        return answers

    def _run(self, given: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        """Probabilities (B, S, S)."""
        try:
            (values,) = self._session.run([OUTPUT], given)
        except Exception as error:
            if out_of_memory(error):
                raise
            raise UserError(f"onnxruntime cannot run {self._name}: {excerpt(str(error))}") from error
        if values.shape != given["previous_mask"].shape or not np.isfinite(values).all():
            raise UserError(f"{self._name} gives values that are not finite, or not {OUTPUT} of the input's size")
        found: NDArray[np.float32] = values[:, 0]
        return found


def _padded(clicks: Sequence[Sequence[InputClick]]) -> NDArray[np.float32]:
    """Clicks as the file takes them, (B, N, 3)."""
    rows = np.full((len(clicks), max(map(len, clicks)), 3), PADDING, np.float32)
    for own, given in zip(rows, clicks, strict=True):
        own[: len(given)] = given
    return rows


def onnx(arguments: Mapping[str, str], device: str) -> OnnxPredictor:
    """A click model from a file that ``agg model export`` has written.

    Args:
        arguments: the path of the file; ``granularity`` in [0, 1] for all clicks, 1 without it.
        device: where it computes.

    Raises:
        UserError: an argument or the file cannot be used.
    """
    check_arguments(arguments, (PATH, GRANULARITY), NAME)
    if PATH not in arguments:
        raise UserError(f"model {NAME} needs the path of its file: {NAME}:PATH")
    name = printable(arguments[PATH])
    content = _content(arguments[PATH])
    parameters = _parameters(content, name)
    session = _session(content, device, name)
    shapes = {each.name: each.shape for each in session.get_inputs()}
    side = shapes.get("image", [0])[-1]
    if not (set(INPUTS[:3]) <= set(shapes) <= set(INPUTS) and isinstance(side, int) and side > 0):
        raise UserError(f"{name} was not made by agg model export: its inputs are {few_of([*shapes])}")
    granularity = None
    if GRANULARITY in shapes:
        granularity = number_argument(arguments, GRANULARITY, 1.0, 0.0, 1.0)
    elif GRANULARITY in arguments:
        raise UserError(f"{name} has no input {GRANULARITY}: it was exported without an adapter")
    facts = ModelFacts(
        "onnx",
        sha256=hashlib.sha256(content).hexdigest(),
        input_size=side,
        parameters=parameters,
        settings={} if granularity is None else {GRANULARITY: granularity},
    )
    return OnnxPredictor(session, facts, granularity, name)


def _content(path: str) -> bytes:
    try:
        return read_file(Path(path), ONNX_BYTES)
    except FileNotFoundError:
        raise UserError(f"there is no file {printable(path)}; agg model export writes one") from None


def _parameters(content: bytes, name: str) -> int:
    """Number of weights; UserError for what is no ONNX file, or one that names other files."""
    try:
        from onnx import TensorProto, load_model_from_string
    except ImportError as error:
        raise UserError(f"model {NAME} needs the extra onnx ({excerpt(str(error))}): {INSTALL}") from error
    try:
        model = load_model_from_string(content)
    except Exception as error:  # protobuf's own kinds of errors
        raise UserError(f"{name} is no ONNX file") from error
    nodes = [*model.graph.node, *(node for each in model.functions for node in each.node)]
    if any(each.data_location == TensorProto.EXTERNAL for each in [*model.graph.initializer, *_tensors(nodes)]):
        raise UserError(f"{name} keeps weights in other files; export it again with agg model export")
    return sum(math.prod(each.dims) for each in model.graph.initializer)


def _tensors(nodes: Iterable[Any]) -> Iterator[Any]:
    """The tensors in attributes of nodes, and in the graphs that nodes hold."""
    for attribute in (each for node in nodes for each in node.attribute):
        yield from (attribute.t, *attribute.tensors)
        for graph in (attribute.g, *attribute.graphs):
            yield from graph.initializer
            yield from _tensors(graph.node)


def _session(content: bytes, device: str, name: str) -> Any:
    """The file as onnxruntime runs it, with as many threads as torch has."""
    import onnxruntime

    provider = PROVIDERS[device]
    if provider not in onnxruntime.get_available_providers():
        raise UserError(f"this onnxruntime cannot compute on {device}; use --device cpu, or install onnxruntime-gpu")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(content, options, providers=[provider])
    except Exception as error:  # onnxruntime's own kinds of errors
        raise UserError(f"onnxruntime cannot open {name}: {excerpt(str(error))}") from error
