"""Running a study: each step is a command of its own, which resumes by itself; finished steps are not run again."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from agg_pipeline.study.plan import Step
from agg_pipeline.training.checkpoint import CHECKPOINT
from schemas.errors import UserError

DONE = "steps.json"
"""Finished steps by name: their arguments, and the seconds that they took in all."""


def read_done(out: Path) -> dict[str, Any]:
    """The finished steps of a study."""
    path = out / DONE
    done: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return done


def run_steps(steps: Sequence[Step], out: Path, say: Callable[[str], None]) -> None:
    """Run what is not finished. UserError if a step fails, or was finished with other arguments."""
    done = read_done(out)
    for step in steps:
        if step.name in done and done[step.name]["arguments"] != list(step.arguments):
            raise UserError(
                f"{out} holds a study in which {step.name!r} was another command; use another output folder"
            )
    for number, step in enumerate(steps, start=1):
        if step.name in done:
            continue
        say(f"[{number} of {len(steps)}] {step.name}")
        resume = ("--resume",) if step.resumable and (Path(step.folder) / CHECKPOINT).exists() else ()
        # A training that was stopped before its first checkpoint has nothing to resume.
        fresh = ("--overwrite",) if step.resumable and not resume else ()
        started = time.monotonic()
        command = [sys.executable, "-m", "agg_pipeline.cli", *step.arguments, "--out", step.folder, *resume, *fresh]
        if subprocess.run(command, check=False).returncode:
            raise UserError(f"{step.name!r} failed; when that is mended, the same command goes on from there")
        done[step.name] = {"arguments": list(step.arguments), "seconds": time.monotonic() - started}
        out.mkdir(parents=True, exist_ok=True)
        temporary = out / f"{DONE}.tmp"
        temporary.write_text(json.dumps(done, indent=1) + "\n")
        temporary.replace(out / DONE)
