"""Pictures of the studio for the documentation: every page, with invented people, in a real browser.

    python benchmarks/studio_pictures.py                   writes docs/pictures/studio_*.webp
    python benchmarks/studio_pictures.py --every FOLDER    every page, wide and narrow, light and dark, as PNG

Needs all systems, the extra `web`, `pip install playwright` and Chromium (`apt-get install chromium`). The
population, two evaluations of it and the embeddings are kept in `--work` for the next run; made anew, they
take some minutes.
"""

import argparse
import io
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from studio import running_studio

REPO = Path(__file__).parents[1]
PICTURES = REPO / "docs" / "pictures"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PATIENCE = 600.0  # s, on a machine with other work
NUM_PEOPLE, NUM_EVALUATED, NUM_OWN = 48, 40, 11
EVALUATED = ("seeking_shape", "cmpc2")
PERSON = 26
WIDE, NARROW = (1280, 900), (390, 844)
SHOWN_WIDTH, QUALITY = 960, 78
TOTAL_BYTES = 600_000
SLIDERS = {"factor-larynx": 14, "factor-nasal": 9, "factor-lip": -8, "factor-age": 6, "coupling": -6}
DONE = (
    "(list => list.length > {least} && list.every(each => ['done', 'failed'].includes(each.dataset.state)))"
    "([...document.querySelectorAll('#{place} .answer')])"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Write the pictures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--every", type=Path, metavar="FOLDER", help="all views instead, to look at them")
    parser.add_argument("--work", type=Path, help="folder kept for later runs; default: a temporary one")
    choices = [*PAGES, "narrow"]
    parser.add_argument("--pages", nargs="+", choices=choices, default=choices, help="default: all")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        arguments, crowd = prepare(work)
        with running_studio(*arguments) as server, open_browser() as browser:
            address = server.address
            if options.every is None:
                write_documentation(browser, address, crowd, options.pages)
            else:
                write_every(browser, address, crowd, options.pages, options.every)
    return 0


def prepare(work: Path) -> tuple[list[str], Path]:
    """Arguments of the server, and a picture of two people."""
    from voiceface.synthetic.writer import write_population

    population = work / "population"
    sizes = {"train": 0, "val": 0, "test": NUM_EVALUATED, "clips": 2, "images": 2}
    write_population(population, "quick", **sizes, progress=False)
    for system in EVALUATED:
        if not (work / system / "results.json").exists():
            command = [sys.executable, "-m", system, "test", "--data", str(population), "--out"]
            subprocess.run([*command, str(work / system)], check=True, stdout=subprocess.DEVNULL)
    faces = sorted((population / "faces").rglob("*.jpg"))[::2]
    voices = sorted((population / "wav").rglob("*.wav"))[::2]
    own = work / "my people"
    shutil.rmtree(own, ignore_errors=True)
    own.mkdir()
    for number, (face, voice) in enumerate(zip(faces[:NUM_OWN], voices), 1):
        shutil.copy(face, own / f"{number:02d} portrait.jpg")
        if number <= 4:
            shutil.copy(voice, own / f"{number:02d} greeting.wav")
    crowd = work / "two people.png"
    background = Image.new("RGB", (900, 500), (148, 160, 170))
    for face, place in ((faces[2], (60, 80)), (faces[5], (500, 100))):
        with Image.open(face) as picture:
            background.paste(picture.convert("RGB").resize((340, 340), Image.Resampling.LANCZOS), place)
    background.save(crowd)
    arguments = ["--people", str(NUM_PEOPLE), "--cache", str(work / "cache"), "--gallery", str(own)]
    arguments += ["--data", str(population), "--results", *(str(work / system) for system in EVALUATED)]
    return arguments, crowd


@contextmanager
def open_browser() -> Iterator[Any]:
    """A Chromium of the system that draws meshes by its processor."""
    from playwright.sync_api import sync_playwright

    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        raise FileNotFoundError("no Chromium found: apt-get install chromium")
    with sync_playwright() as program:
        browser = program.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--enable-unsafe-swiftshader", "--hide-scrollbars"]
        )
        yield browser
        browser.close()


@dataclass
class Visitor:
    """A page of the studio.

    Attributes:
        page: of playwright.
        crowd: a picture of two people.
    """

    page: Any
    crowd: Path

    def wait(self, condition: str) -> None:
        """Wait until an expression of the page is true."""
        end = time.monotonic() + PATIENCE
        while not self.page.evaluate(condition):
            if time.monotonic() > end:
                raise TimeoutError(f"never true in the page: {condition}")
            time.sleep(0.2)

    def wait_for_pictures(self, place: str) -> None:
        """Scroll through the page, so that lazy pictures are loaded."""
        self.page.evaluate(
            f"for (const each of document.querySelectorAll('#{place} img')) each.loading = 'eager'"
        )
        self.wait(f"[...document.querySelectorAll('#{place} img')].every(each => each.complete)")
        self.page.wait_for_timeout(700)  # meshes are drawn

    def voice(self) -> None:
        """An invented person's voice, with all answers."""
        self.page.click("#tab-voice")
        for _ in range(2):  # the first answers wait for models and embeddings, and show long times
            self.page.locator("#voice-people button").nth(PERSON).click()
            self.wait(DONE.format(least=4, place="voice-answers"))
        self.wait_for_pictures("panel-voice")

    def face(self) -> None:
        """A picture of two people, and voices ranked for one of them."""
        self.page.click("#tab-face")
        self.page.set_input_files("#face-file", str(self.crowd))
        self.wait(DONE.format(least=1, place="face-answers"))
        self.wait_for_pictures("panel-face")

    def gallery(self) -> None:
        """The own gallery."""
        self.page.click("#tab-gallery")
        self.wait(f"document.querySelectorAll('#gallery-faces li').length >= {NUM_OWN}")
        self.wait_for_pictures("panel-gallery")

    def invent(self) -> None:
        """A person by sliders."""
        self.page.click("#tab-invent")
        self.wait("document.querySelector('#invented-face').naturalWidth > 0")
        for name, count in SLIDERS.items():
            self.page.focus(f"#{name}")
            for _ in range(abs(count)):
                self.page.keyboard.press("ArrowRight" if count > 0 else "ArrowLeft")
        self.page.wait_for_timeout(1000)
        self.wait("!document.querySelector('#invented-face').classList.contains('busy')")
        self.page.wait_for_timeout(1500)
        self.page.evaluate("document.activeElement.blur()")

    def compare(self) -> None:
        """Metrics of two evaluations, and the hardest trials of one list."""
        self.page.click("#tab-compare")
        self.wait("document.querySelectorAll('#results-table tbody tr').length > 0")
        self.page.select_option("#filter-kind", "match")
        self.page.select_option("#filter-direction", "v2f")
        self.page.locator("#results-table .choice").first.click()
        self.wait("document.querySelectorAll('.trial').length > 0")
        self.wait_for_pictures("panel-compare")

    def systems(self) -> None:
        """What is installed."""
        self.page.click("#tab-systems")
        self.wait("document.querySelectorAll('.system-row').length > 0")


PAGES: dict[str, Callable[[Visitor], None]] = {
    name: getattr(Visitor, name) for name in ("voice", "face", "gallery", "invent", "compare", "systems")
}
HEIGHTS = {"voice": 1990, "face": 1180, "invent": 900, "compare": 1500}
"""Pixels of the pages in the documentation, at most; the other pages are in no picture."""
END_OF_CARDS = """limit => 14 + Math.max(...[...document.querySelectorAll('.card, .empty')]
    .map(each => each.getBoundingClientRect().bottom).filter(bottom => bottom < limit - 14))"""
PHONES = {"voice": "#voice-heard", "face": "#face-seen", "invent": ".stage-box"}
"""Pages of the picture of narrow screens, and what of them is shown."""


@contextmanager
def visit(browser: Any, address: str, crowd: Path, size: tuple[int, int], theme: str) -> Iterator[Visitor]:
    """Open the page and pass the gate."""
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]}, color_scheme=theme, reduced_motion="reduce"
    )
    context.set_default_timeout(1000 * PATIENCE)
    page = context.new_page()
    page.goto(address)
    page.wait_for_selector("html[data-ready]")
    page.click("#agree")
    page.wait_for_selector("#voice-people button")
    yield Visitor(page, crowd)
    context.close()


def write_documentation(browser: Any, address: str, crowd: Path, pages: Sequence[str]) -> None:
    """The pictures of docs/studio.md and README.md."""
    wide = [name for name in pages if name in HEIGHTS]
    if wide:
        with visit(browser, address, crowd, WIDE, "light") as visitor:
            for name in wide:
                PAGES[name](visitor)
                visitor.page.evaluate("scrollTo(0, 0)")
                height = visitor.page.evaluate(END_OF_CARDS, HEIGHTS[name])
                clip = {"x": 0, "y": 0, "width": WIDE[0], "height": height}
                screen = read(visitor.page.screenshot(full_page=True, clip=clip))
                save(PICTURES / f"studio_{name}.webp", screen)
    if "narrow" in pages:
        with visit(browser, address, crowd, NARROW, "dark") as visitor:
            save(PICTURES / "studio_narrow.webp", draw_narrow(visitor))
    total = sum(path.stat().st_size for path in PICTURES.glob("studio_*.webp"))
    print(f"{total / 1000:.0f} kB in all, expected at most {TOTAL_BYTES / 1000:.0f}")


def draw_narrow(visitor: Visitor) -> Image.Image:
    """Three pages on a narrow screen, beside each other."""
    gap = 20
    sheet = Image.new("RGB", (len(PHONES) * (NARROW[0] + gap) - gap, NARROW[1]), "white")
    for number, (name, place) in enumerate(PHONES.items()):
        PAGES[name](visitor)
        visitor.page.evaluate(f"scrollTo(0, document.querySelector({place!r}).offsetTop - 64)")
        visitor.page.wait_for_timeout(500)
        sheet.paste(read(visitor.page.screenshot()), (number * (NARROW[0] + gap), 0))
    return sheet


def write_every(browser: Any, address: str, crowd: Path, pages: Sequence[str], folder: Path) -> None:
    """Every page in both sizes and both themes."""
    folder.mkdir(parents=True, exist_ok=True)
    for size, theme in ((WIDE, "light"), (NARROW, "dark"), (WIDE, "dark"), (NARROW, "light")):
        with visit(browser, address, crowd, size, theme) as visitor:
            for name in [name for name in pages if name in PAGES]:
                PAGES[name](visitor)
                visitor.page.evaluate("scrollTo(0, 0)")
                path = folder / f"{name}_{size[0]}_{theme}.png"
                visitor.page.screenshot(path=path, full_page=True)
                print(path, flush=True)


def read(content: bytes) -> Image.Image:
    """A picture of a screen."""
    return Image.open(io.BytesIO(content)).convert("RGB")


def save(path: Path, picture: Image.Image) -> None:
    """Write a small file."""
    height = round(SHOWN_WIDTH * picture.height / picture.width)
    picture.resize((SHOWN_WIDTH, height), Image.Resampling.LANCZOS).save(
        path, "WEBP", quality=QUALITY, method=6
    )
    print(f"{path.relative_to(REPO)}: {path.stat().st_size / 1000:.0f} kB", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
