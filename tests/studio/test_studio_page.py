"""The page in a real browser: microphone, files, gallery, people by sliders; what it loads; axe."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

SYSTEMS = ["seeking_shape", "cmpc2", "sf2f", "perceptionist", "voicestyle"]
PATIENCE = 300.0  # seconds, on a machine with other work
NUM_PEOPLE = 8
WIDTHS = {"wide": (1280, "light"), "narrow": (390, "dark")}


@pytest.fixture(scope="session")
def address(
    people: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory, browser_path: str
) -> Iterator[str]:
    """A running studio with the bundled weights."""
    from voiceface.suite.plugins import find_systems

    if missing := set(SYSTEMS) - {system.name for system in find_systems().found}:
        pytest.skip(f"not installed: {', '.join(sorted(missing))}")
    home = tmp_path_factory.mktemp("home")
    command = [sys.executable, "-m", "voiceface", "serve", "--port", "0", "--people", str(NUM_PEOPLE)]
    process = subprocess.Popen(
        [*command, "--cache", str(cache), "--gallery", str(people / "pictures"), "--systems", *SYSTEMS],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "VOICEFACE_HOME": str(home), "TMPDIR": str(home)},
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    yield line.partition(": ")[2].strip()
    process.terminate()
    process.wait(30)
    process.stdout.close()
    assert not list(home.glob("voiceface-studio-*"))


@dataclass
class Visit:
    """A page with everything that goes wrong on it."""

    page: Any
    address: str
    problems: list[str] = field(default_factory=list)

    def watch(self) -> None:
        self.page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        self.page.on("console", self._note)
        self.page.on("request", self._check)

    def _note(self, message: Any) -> None:
        if message.type == "error" or (message.type == "warning" and "GPU stall" not in message.text):
            self.problems.append(f"{message.type}: {message.text}")

    def _check(self, request: Any) -> None:
        if not request.url.startswith((self.address, "data:", "blob:")):
            self.problems.append(f"request to {request.url}")

    def wait(self, condition: str, seconds: float = PATIENCE) -> None:
        end = time.monotonic() + seconds
        while not self.page.evaluate(condition):
            states = self.page.evaluate("[...document.querySelectorAll('.answer')].map(a => a.innerText)")
            assert time.monotonic() < end, f"never: {condition}; {self.problems}; {states}"
            time.sleep(0.1)

    def wait_for_answers(self, place: str, count: int) -> None:
        cards = f"[...document.querySelectorAll('#{place} .answer')]"
        self.wait(f"{cards}.length == {count} && {cards}.every(a => a.dataset.state == 'done')")

    def require_fit(self) -> None:
        """Nothing is wider than the screen."""
        size = self.page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
        assert size[0] <= size[1], size


@pytest.fixture(params=WIDTHS)
def visit(request: pytest.FixtureRequest, browser: Any, address: str) -> Iterator[Visit]:
    width, scheme = WIDTHS[request.param]
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    context.set_default_timeout(1000 * PATIENCE)
    found = Visit(context.new_page(), address)
    found.watch()
    found.page.goto(address)
    found.page.wait_for_selector("html[data-ready]")
    found.page.click("#agree")
    found.page.wait_for_selector("#voice-people button")
    yield found
    found.require_fit()
    context.close()
    assert not found.problems, found.problems


def test_the_gate_comes_first_and_once(visit: Visit):
    assert not visit.page.is_visible("#gate")
    visit.page.reload()
    visit.page.wait_for_selector("html[data-ready]")
    assert not visit.page.is_visible("#gate")
    visit.page.click("#reopen")
    assert "no likeness" in visit.page.inner_text("#gate")
    visit.page.keyboard.press("Escape")
    assert "No likeness" in visit.page.inner_text("p.careful")


def test_a_voice_from_the_microphone_is_answered_by_all_systems(visit: Visit):
    page = visit.page
    page.click("#record")
    visit.wait("document.querySelector('#level').getAttribute('aria-valuenow') > 10")
    page.wait_for_selector("#heard")
    assert "are heard" in page.inner_text("#heard")
    visit.wait_for_answers("voice-answers", len(SYSTEMS))
    assert page.locator("#answer-sf2f img.drawn").count() == 1
    assert page.locator("#answer-voicestyle .way img").count() > 3
    assert page.locator("#answer-perceptionist .stage.live").count() == 2
    assert "Face type" in page.inner_text("#answer-perceptionist")
    assert page.locator("#answer-cmpc2 .candidates li").count() == NUM_PEOPLE
    assert "synthetic" in page.inner_text("#answer-cmpc2 .notice")
    visit.wait(
        "[...document.querySelectorAll('#answer-cmpc2 img')].slice(0, 4).every(i => i.naturalWidth > 0)"
    )
    page.click("#heard .player button")
    visit.wait("document.querySelector('#heard audio').currentTime > 0.1")


def test_heads_turn_by_the_keyboard(visit: Visit):
    page = visit.page
    page.locator("#voice-people button").nth(1).click()
    visit.wait("document.querySelector('#answer-perceptionist')?.dataset.state == 'done'")
    canvas = page.locator("#answer-perceptionist .stage canvas").first
    visit.wait("document.querySelector('#answer-perceptionist .stage.live') != null")
    canvas.focus()
    before = canvas.screenshot()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    visit.wait("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))")
    assert canvas.screenshot() != before


def test_a_file_and_a_file_that_is_none(visit: Visit, people: Path, tmp_path: Path):
    page = visit.page
    wrong = tmp_path / "<img src=x onerror=alert(1)>.wav"
    wrong.write_bytes(b"no sound")
    page.set_input_files("#voice-file", str(wrong))
    page.wait_for_selector("#trouble:not([hidden])")
    assert "<img src=x" in page.inner_text("#trouble")  # as a text
    assert page.locator("#trouble img").count() == 0
    visit.problems[:] = [each for each in visit.problems if "422" not in each]  # the refusal itself
    page.set_input_files("#voice-file", str(people / "voice.wav"))
    page.wait_for_selector("#heard")
    assert page.is_hidden("#trouble") and "voice.wav" in page.inner_text("#heard")


def test_a_gallery_of_many_pictures_is_ranked(visit: Visit, people: Path):
    page = visit.page
    page.click("#tab-gallery")
    shown = "document.querySelectorAll('#gallery-faces li').length"
    given = len(list((people / "pictures").glob("*.png")))
    visit.wait(f"{shown} >= {given - 1}")  # an earlier visit has removed one
    count = page.evaluate(shown)
    assert "notes <b>.txt" in page.inner_text("#gallery-left")
    page.set_input_files("#gallery-files", str(people / "voice.wav"))
    visit.wait("document.querySelectorAll('#gallery-voices li').length == 1")
    page.locator("#gallery-faces .remove").first.click()
    visit.wait(f"{shown} == {count - 1}")
    page.click("#gallery-voices .remove")
    visit.wait("document.querySelectorAll('#gallery-voices li').length == 0")
    page.click("#tab-voice")
    page.locator("#voice-people button").nth(2).click()
    page.select_option("#voice-scope", "own")
    text = "document.querySelector('#answer-seeking_shape')?.innerText"
    visit.wait(f"{text}?.includes('best of {count - 1}')")
    visit.wait("document.querySelector('#answer-cmpc2').dataset.state == 'done'")
    with page.expect_download() as download:
        page.click("#voice-csv")
    lines = Path(download.value.path()).read_text().splitlines()
    assert lines[0].startswith('"query","system","rank"') and len(lines) == 1 + 2 * (count - 1)


def test_a_face_finds_its_voice(visit: Visit, people: Path):
    page = visit.page
    page.click("#tab-face")
    page.set_input_files("#face-file", str(people / "pictures" / "005.png"))
    page.wait_for_selector("#seen")
    visit.wait_for_answers("face-answers", 2)
    page.locator("#face-answer-cmpc2 .player button").first.click()
    visit.wait("document.querySelector('#face-answer-cmpc2 audio').currentTime > 0.05")


def test_a_picture_from_the_camera(visit: Visit):
    page = visit.page
    page.click("#tab-face")
    page.click("#camera")
    visit.wait("document.querySelector('#viewfinder').videoWidth > 0")
    page.click("#camera")
    page.wait_for_selector("#seen, #trouble:not([hidden])")
    assert "camera" in page.inner_text("#seen")


def test_people_are_invented_by_sliders(visit: Visit):
    page = visit.page
    page.click("#tab-invent")
    visit.wait("document.querySelector('#invented-face').naturalWidth == 256")
    first = page.get_attribute("#invented-face", "src")
    page.locator("#factor-larynx").focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    visit.wait(f"document.querySelector('#invented-face').src != {first!r}")
    assert page.locator("#shape .slider").count() == 40
    visit.wait("document.querySelector('#oracle').innerText.includes('100.0 %')")
    page.locator("#coupling").focus()
    page.keyboard.press("Home")
    visit.wait("document.querySelector('#oracle').innerText.includes('50.0 %')")
    page.click("#invent-try")
    page.wait_for_selector("#heard")
    assert page.get_attribute("#tab-voice", "aria-selected") == "true"


def test_results_are_opened_by_the_page_alone(visit: Visit, tmp_path: Path):
    page = visit.page
    metric = {"value": 0.75, "chance": 0.5, "standard_error": None, "low": None, "high": None}
    people = [{"name": "<b>A</b>", "value": 0.25, "trials": 4}]
    known = {"direction": "v2f", "identities": people}
    lists = [
        {
            "name": "match_g_v2f_2_test",
            "kind": "match",
            "stratum": "G",
            "metrics": {"accuracy": metric},
            **known,
        },
        {"name": "verify_v2f_test", "kind": "verify", "stratum": "U", "metrics": {"auc": metric}, **known},
    ]
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"format": "voiceface-results-2", "protocol": "p", "lists": lists}))
    page.click("#tab-compare")
    page.set_input_files("#results-files", str(path))
    visit.wait("document.querySelectorAll('#results-table tbody tr').length == 2")
    page.select_option("#filter-stratum", "G")
    assert page.locator("#results-table tbody tr").count() == 1
    assert "gender" in page.inner_text("#results-table")
    page.click("#results-table .choice")
    page.click("#results-trials summary")
    assert "<b>A</b>" in page.inner_text("#results-trials") and page.locator("#results-trials b").count() == 0
    path.write_text('{"format": "another"}')
    page.set_input_files("#results-files", str(path))
    page.wait_for_selector("#trouble:not([hidden])")


def test_tabs_by_the_keyboard(visit: Visit):
    page = visit.page
    page.focus("#tab-voice")
    for name in ("face", "gallery", "invent", "compare", "systems"):
        page.keyboard.press("ArrowRight")
        assert page.get_attribute(f"#panel-{name}", "hidden") is None
        assert page.evaluate("document.activeElement.id") == f"tab-{name}"
    visit.wait(f"document.querySelectorAll('.system-row').length == {len(SYSTEMS)}")
    page.go_back()
    assert page.is_visible("#panel-compare")


def test_accessibility(visit: Visit):
    axe = Path(os.environ.get("VOICEFACE_AXE", "node_modules/axe-core/axe.min.js"))
    if not axe.is_file():
        pytest.skip("no axe-core: npm install axe-core, and VOICEFACE_AXE=.../axe.min.js")
    page = visit.page
    page.locator("#voice-people button").nth(1).click()
    visit.wait("document.querySelector('#answer-seeking_shape')?.dataset.state == 'done'")
    found = []
    for name in ("voice", "face", "gallery", "invent", "compare", "systems"):
        page.click(f"#tab-{name}")
        page.wait_for_timeout(300)
        page.evaluate(axe.read_text())
        result = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        found += [
            (name, each["id"], [node["target"] for node in each["nodes"]][:3])
            for each in result["violations"]
        ]
    page.goto(f"{visit.address}/docs")
    visit.wait("document.querySelectorAll('.route').length > 20")
    page.evaluate(axe.read_text())
    result = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    found += [("docs", each["id"], each["nodes"][0]["target"]) for each in result["violations"]]
    assert not found, found
