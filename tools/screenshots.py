"""Pictures of all pages, light and dark, wide and narrow: ``make screenshots``.

    python -m tools.screenshots [--only view] [--documents]

The pages are made with the commands of ``agg``, from four generated scenes; results that are there are used again.
Needs chromium and chromedriver. ``--documents`` also writes the two pictures of the guide into ``docs/pictures``.
"""

from __future__ import annotations

import base64
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import skimage.data
from PIL import Image

from tests.web.browser import chromium, served, until

PROJECT = Path(__file__).resolve().parent.parent
DOCUMENTS = PROJECT / "docs/pictures"
LOOKS = ((1400, "light"), (1400, "dark"), (400, "light"))
"""Width in CSS pixels, and colour scheme, of the pictures of each page."""
WINDOW = 900
"""Height of the window, CSS pixels."""
TALLEST = 6000
"""Most CSS pixels of a page that are in its picture, from above."""
PLACE = (400, 220)
"""Row and column of the click in the demo's photograph, as in the README's picture."""

Prepare = Callable[[Any, str], None]


@dataclass(frozen=True)
class Made:
    """A page that is a file.

    Attributes:
        path: its path below the folder of the runs.
        command: words after ``agg`` of the command that makes it; {runs} stands for that folder.
        codes: exit codes of a command that has made it.
    """

    path: str
    command: str
    codes: tuple[int, ...] = (0,)


PROPOSALS, OTHER = "{runs}/demo/proposals", "{runs}/demo/other"
FILES = {
    "gallery": Made(
        "demo/proposals/report/gallery.html",
        f"proposals run --split 4 --workers 1 --gallery-images 2 --out {PROPOSALS}",
    ),
    "statistics": Made(
        "demo/proposals/report/stats.html", f"database stats {PROPOSALS} --parts demo --limit-objects 4"
    ),
    "other": Made("demo/other", f"database recompute {PROPOSALS} --lambda 0.2 --out {OTHER}"),
    "difference": Made(
        "demo/difference/difference.html",
        f"database diff {PROPOSALS} {OTHER} --pictures 4 --out {{runs}}/demo/difference",
        (0, 1),
    ),
    "training": Made(
        "demo/finetune/training.html",
        f"finetune --proposals {PROPOSALS} --recipe demo --epochs 2 --validation-masks 2 --loaders 0 "
        "--out {runs}/demo/finetune",
    ),
    "evaluation": Made(
        "demo/eval/report.html",
        "eval run --adapter built-in --curves --sample 2 --max-clicks 4 --workers 1 --pictures 1 "
        "--out {runs}/demo/eval",
    ),
    "contact sheet": Made("demo/data.html", "data inspect demo --split 4 --images 4 --out {runs}/demo/data.html"),
}
"""Pages and what they need, in an order in which each finds what it needs."""
NAMES = (*(name for name in FILES if name != "other"), "index", "view", "image", "demo")
"""All pages; ``image`` is an image in ``agg view``."""


@click.command()
@click.option("--out", default="build/screenshots", show_default=True, type=click.Path(path_type=Path))
@click.option("--only", multiple=True, type=click.Choice(NAMES), help="Only this page; can be repeated.")
@click.option("--documents", is_flag=True, help="Write the pictures of the guide, too.")
def main(out: Path, only: tuple[str, ...], documents: bool) -> None:
    """Make the pages, and their pictures."""
    out = out.resolve()
    runs = out / "runs"
    runs.mkdir(parents=True, exist_ok=True)
    chosen = only or NAMES
    # Pages show paths as they are given.
    with chromium(out) as window, chdir(runs.parent):
        # Every page needs the proposals; the index lists what is there.
        for name, made in FILES.items():
            wanted = name in chosen or name == "gallery" or (name == "other" and "difference" in chosen)
            if wanted and not (runs / made.path).exists():
                print(f"agg {made.command}".format(runs=runs), flush=True)
                words = [word.format(runs=runs) for word in made.command.split()]
                code = subprocess.call([sys.executable, "-m", "agg_pipeline.cli", *words])
                if code not in made.codes:
                    raise click.ClickException(f"the page {name} was not made: exit code {code}")
            if name in chosen:
                shoot(window, (runs / made.path).as_uri(), out, name)
        if "index" in chosen:
            shoot(window, (runs / "index.html").as_uri(), out, "index")
        for name, served_page, prepare in served_pages(out):
            if name in chosen:
                with served_page() as address:
                    shoot(window, address, out, name, prepare)
                    if documents and name in ("image", "demo"):
                        document(window, address, prepare, DOCUMENTS / f"{'view' if name == 'image' else name}.webp")


def served_pages(out: Path) -> Iterator[tuple[str, Callable[[], Any], Prepare]]:
    """Pages that are served: name, server, and what is done before the picture is made."""
    photographs = out / "photographs"
    photographs.mkdir(exist_ok=True)
    # The README's photograph, NASA's, in the public domain.
    Image.fromarray(skimage.data.astronaut()).save(photographs / "astronaut.png")

    def view() -> Any:
        return served("view", "runs/demo/proposals")

    def demo() -> Any:
        return served("demo", "--image", str(photographs), "--device", "cpu")

    yield "view", view, see_grid
    yield "image", view, see_image
    yield "demo", demo, see_masks


def see_grid(window: Any, address: str) -> None:
    """Wait for all thumbnails."""
    open_page(window, address)
    ready = "return document.body.dataset.ready && [...document.images].every(each => each.complete)"
    until(lambda: window.execute_script(ready), "the grid")


def see_image(window: Any, address: str) -> None:
    """Open the second image, at a mask with clicks."""
    see_grid(window, address)
    window.execute_script("document.querySelectorAll('.tile')[1].click()")
    shown = "return document.querySelector('.pane canvas')?.dataset.mask ?? ''"
    until(lambda: window.execute_script(shown), "the masks")
    # The coarsest mask is an object, which has no clicks.
    until(lambda: step_back(window, shown), "a part")


def step_back(window: Any, shown: str) -> bool:
    """Go to the next finer mask; whether it is a part."""
    before = window.execute_script(shown)
    window.execute_script("document.body.dispatchEvent(new KeyboardEvent('keydown', { key: 'G', bubbles: true }))")
    until(lambda: window.execute_script(shown) != before, "the next mask")
    return ":part:" in window.execute_script(shown)


def see_masks(window: Any, address: str) -> None:
    """Click once, and show the masks of all granularities."""
    from selenium.webdriver.common.action_chains import ActionChains

    open_page(window, address)
    canvas = window.find_element("id", "canvas")
    until(lambda: canvas.get_attribute("data-image"), "the photograph")
    height, width = skimage.data.astronaut().shape[:2]
    scale = min(canvas.size["width"] / width, canvas.size["height"] / height)
    row, col = PLACE
    right, down = round((col - width / 2) * scale), round((row - height / 2) * scale)
    ActionChains(window).move_to_element_with_offset(canvas, right, down).click().perform()
    until(lambda: canvas.get_attribute("data-masks") == "10", "all masks")
    window.execute_script(
        "document.querySelector('#auto').click(); document.querySelectorAll('#thumbnails button')[7].click()"
    )


def open_page(window: Any, address: str) -> None:
    """Open a page afresh, even if only the part of its address after # is new."""
    window.get("about:blank")
    window.get(address)


@contextmanager
def look(window: Any, width: int, scheme: str) -> Iterator[None]:
    """A window of a width, and a colour scheme."""
    window.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    size = {"width": width, "height": WINDOW, "deviceScaleFactor": 1, "mobile": False}
    window.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        yield
    finally:
        window.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def shoot(window: Any, address: str, out: Path, name: str, prepare: Prepare = open_page) -> None:
    """Make the pictures of a page, PNG files."""
    for width, scheme in LOOKS:
        with look(window, width, scheme):
            prepare(window, address)
            tall = min(TALLEST, window.execute_script("return document.documentElement.scrollHeight"))
            path = out / f"{name.replace(' ', '-')}-{width}-{scheme}.png"
            capture(window, path, width, max(WINDOW, tall), "png")
            wide = window.execute_script("return document.documentElement.scrollWidth")
            print(path, f"({wide} CSS pixels wide)" if wide > width else "", flush=True)


def document(window: Any, address: str, prepare: Prepare, path: Path) -> None:
    """Make a small picture of a page for the guide."""
    with look(window, 1200, "light"):
        prepare(window, address)
        capture(window, path, 1200, WINDOW, "webp", {"quality": 80})
    print(path, f"{path.stat().st_size / 1000:.0f} kB", flush=True)


def capture(window: Any, path: Path, width: int, height: int, kind: str, more: dict[str, int] | None = None) -> None:
    """Write what the window shows, from its upper left corner."""
    clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
    made = window.execute_cdp_cmd(
        "Page.captureScreenshot", {"format": kind, "captureBeyondViewport": True, "clip": clip, **(more or {})}
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(base64.b64decode(made["data"]))


if __name__ == "__main__":
    main()
