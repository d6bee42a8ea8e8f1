"""Running a study: each step is a command of its own that resumes by itself; finished steps are not run again."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from agg_pipeline.storage.store import Store
from agg_pipeline.study.step_results import is_whole, may_resume
from agg_pipeline.study.study_steps import StudyStep
from schemas.canonical import Json, differences
from schemas.checked_json import JsonError
from schemas.documents import BegunSteps
from schemas.errors import UserError

DONE = "steps.json"
"""File with the study's facts and, by name, its steps: arguments, whether it is finished, seconds of all attempts."""


def begun_steps(out: Path) -> dict[str, Json]:
    """The steps of a study that were begun, by name; UserError if the file is damaged."""
    steps: dict[str, Json] = _read(out)["steps"]
    return steps


def run_study(steps: Sequence[StudyStep], facts: Mapping[str, str], out: Path, say: Callable[[str], None]) -> None:
    """Run the steps that are not finished, in their order; a finished step whose results are damaged is run again.

    Args:
        steps: all steps of the study.
        facts: what decides the results beside the steps' arguments (files, data), by name.
        out: output folder of the study.
        say: called with the step that begins.

    Raises:
        UserError: the folder holds another study, or a step fails.
    """
    written = _read(out)
    begun = written["steps"]
    _check_same(out, written, steps, facts)
    for number, step in enumerate(steps, start=1):
        if _is_finished(step, begun):
            continue
        damaged = _was_finished(step, begun)
        again = ", again: what it has left is missing or damaged" if damaged else ""
        say(f"[{number} of {len(steps)}] {step.name}{again}")
        before = begun.get(step.name, {}).get("seconds", 0.0)
        started, failed = time.monotonic(), True
        try:
            failed = run_command(_command(step, damaged)) != 0
        finally:
            seconds = before + time.monotonic() - started
            begun[step.name] = {"arguments": list(step.arguments), "finished": not failed, "seconds": seconds}
            # In the order of the steps, which sorted keys would lose.
            text = json.dumps({"facts": dict(facts), "steps": begun}, indent=1)
            Store(str(out)).write(DONE, f"{text}\n".encode())
        if failed:
            raise UserError(
                f"{step.name!r} failed; when the cause is mended, run the same command again to resume (to make a step "
                "from scratch, delete its folder before)"
            )


def finished_steps(steps: Sequence[StudyStep], facts: Mapping[str, str], out: Path) -> dict[str, float]:
    """The steps that ``run_study`` would not run again, with the seconds that they took; nothing is written.

    Args:
        steps: all steps of the study.
        facts: see ``run_study``.
        out: output folder of the study; it may be missing.

    Raises:
        UserError: the folder holds another study.
    """
    written = _read(out)
    begun = written["steps"]
    _check_same(out, written, steps, facts)
    return {step.name: float(begun[step.name]["seconds"]) for step in steps if _is_finished(step, begun)}


def _is_finished(step: StudyStep, begun: Mapping[str, Json]) -> bool:
    return _was_finished(step, begun) and is_whole(step)


def _was_finished(step: StudyStep, begun: Mapping[str, Json]) -> bool:
    """Whether a step has ended well, whatever has become of its results since."""
    return bool(step.name in begun and begun[step.name]["finished"])


def _check_same(out: Path, written: Json, steps: Sequence[StudyStep], facts: Mapping[str, str]) -> None:
    """UserError if a folder holds a study of other facts, or with another command under the name of a step."""
    begun = written["steps"]
    changed = differences(written["facts"], dict(facts))
    if begun and changed:
        raise UserError(f"{out} holds another study: {', '.join(changed)}; use another output folder")
    for step in steps:
        if step.name in begun and begun[step.name]["arguments"] != list(step.arguments):
            raise UserError(
                f"{out} holds a study in which {step.name!r} was another command; use another output folder"
            )


def _command(step: StudyStep, damaged: bool) -> list[str]:
    """The command line of a step.

    A training that was stopped is resumed if it has left a checkpoint.

    Args:
        step: the step.
        damaged: whether it was finished, and what it has left is damaged: then nothing of it is trusted unseen.
    """
    how: tuple[str, ...] = ("--verify",) if damaged else ()
    if step.learnt:
        how = ("--resume",) if may_resume(step.folder) else ("--overwrite",)
    return [sys.executable, "-m", "agg_pipeline.cli", *step.arguments, "--out", step.folder, *how]


def run_command(command: Sequence[str]) -> int:
    """Run a command to its end, in a process group of its own, so that Ctrl-C reaches it once, from here.

    Args:
        command: the program and its arguments.

    Returns:
        Its exit status.

    Raises:
        KeyboardInterrupt: an interrupt came; the command has ended in its own way.
    """
    with subprocess.Popen(command, process_group=0) as process:
        interrupted: KeyboardInterrupt | None = None
        while True:
            try:
                status = process.wait()
                break
            except KeyboardInterrupt as interrupt:
                interrupted = interrupt
                process.send_signal(signal.SIGINT)
        if interrupted is not None:
            raise interrupted
        return status


def _read(out: Path) -> Json:
    """What the file holds; no steps if there is no file."""
    store = Store(str(out))
    if not store.exists(DONE):
        return {"facts": {}, "steps": {}}
    try:
        written: Json = store.read_json(DONE, BegunSteps)
    except JsonError as error:
        raise UserError(
            f"{out / DONE} is damaged, or of another version ({error.said}); use another output folder"
        ) from error
    return written
