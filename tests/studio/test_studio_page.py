"""The page in a real browser: microphone, files, gallery, people by sliders; what it loads; axe."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

RANKING = ["seeking_shape", "archetype_agnostic", "cmpc2"]
SYSTEMS = [*RANKING, "sf2f", "perceptionist", "voicestyle"]
PATIENCE = 300.0  # seconds, on a machine with other work
NUM_PEOPLE = 8
WIDTHS = {"wide": (1280, "light"), "narrow": (390, "dark")}


@pytest.fixture(scope="session")
def address(
    people: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory, browser_path: str
) -> Iterator[str]:
    """A running studio with the bundled weights."""
    home = tmp_path_factory.mktemp("home")
    arguments = ["--people", str(NUM_PEOPLE), "--cache", str(cache), "--gallery", str(people / "pictures")]
    with run_studio(SYSTEMS, *arguments, home=home, VOICEFACE_HOME=str(home)) as found:
        yield found
    assert not list(home.glob("voiceface-studio-*"))


@contextmanager
def run_studio(systems: list[str], *arguments: str, home: Path, **variables: str) -> Iterator[str]:
    """Address of a studio in a process of its own; `home` is for its temporary files."""
    from voiceface.suite.plugins import find_systems

    if missing := set(systems) - {system.name for system in find_systems().found}:
        pytest.skip(f"not installed: {', '.join(sorted(missing))}")
    command = [sys.executable, "-m", "voiceface", "serve", "--port", "0", "--systems", *systems]
    process = subprocess.Popen(
        [*command, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **variables, "TMPDIR": str(home)},
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    yield line.partition(": ")[2].strip()
    process.terminate()
    process.wait(30)
    process.stdout.close()


@dataclass
class Visit:
    """A page with everything that goes wrong on it."""

    page: Any
    address: str
    problems: list[str] = field(default_factory=list)

    @classmethod
    def begin(cls, browser: Any, address: str, name: str = "wide", patience: float = PATIENCE) -> "Visit":
        """Open a page of the width and colours of a name of `WIDTHS`; `patience` in s."""
        width, scheme = WIDTHS[name]
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        context.set_default_timeout(1000 * patience)
        found = cls(context.new_page(), address)
        found.watch()
        found.page.goto(address)
        found.page.wait_for_selector("html[data-ready]")
        return found

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
    with begin_visit(browser, address, request.param) as found:
        yield found


@contextmanager
def begin_visit(browser: Any, address: str, name: str) -> Iterator[Visit]:
    """Open the page and agree; at the end nothing has gone wrong."""
    found = Visit.begin(browser, address, name)
    found.page.click("#agree")
    found.page.wait_for_selector("#voice-people button")
    yield found
    found.require_fit()
    found.page.context.close()
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
    visit.wait(
        f"{json.dumps(RANKING)}.every(n => document.querySelector(`#answer-${{n}}`).dataset.state == 'done')"
    )
    with page.expect_download() as download:
        page.click("#voice-csv")
    lines = Path(download.value.path()).read_text().splitlines()
    assert lines[0].startswith('"query","system","rank"')
    assert len(lines) == 1 + len(RANKING) * (count - 1)


def test_a_face_finds_its_voice(visit: Visit, people: Path):
    page = visit.page
    page.click("#tab-face")
    page.set_input_files("#face-file", str(people / "pictures" / "005.png"))
    page.wait_for_selector("#seen")
    visit.wait_for_answers("face-answers", len(RANKING))
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


MALFORMED_RESULTS = {
    "another format": '{"format": "another"}',
    "no json": "PK\x03\x04",
    "deep": "[" * 100_000,
    "null": "null",
    "no lists": '{"format": "voiceface-results-2"}',
    "lists of numbers": '{"format": "voiceface-results-2", "lists": [1, null]}',
    "unknown kind": '{"format": "voiceface-results-2", "lists": [{"name": "a", "kind": "constructor", '
    '"direction": "v2f", "stratum": "", "metrics": {}, "identities": []}]}',
    "no metric": '{"format": "voiceface-results-2", "lists": [{"name": "a", "kind": "match", '
    '"direction": "v2f", "stratum": "", "metrics": {"__proto__": {}}, "identities": []}]}',
    "name of another type": '{"format": "voiceface-results-2", "lists": [{"name": {"a": 1}, "kind": "match", '
    '"direction": "v2f", "stratum": "", "metrics": {"accuracy": {"value": 1}}, "identities": []}]}',
    "value of another type": '{"format": "voiceface-results-2", "lists": [{"name": "a", "kind": "match", '
    '"direction": "v2f", "stratum": "", "metrics": {"accuracy": {"value": "<b>"}}, "identities": []}]}',
    "identities": '{"format": "voiceface-results-2", "lists": [{"name": "a", "kind": "match", '
    '"direction": "v2f", "stratum": "", "metrics": {"accuracy": {"value": 1}}, "identities": [{}]}]}',
}
UNKNOWN_VALUES = (
    '{"format": "voiceface-results-2", "lists": [{"name": "unknown", "kind": "match", "direction": "v2f", '
    '"stratum": "<i>", "metrics": {"accuracy": {"value": null}}, "identities": [{"name": "A"}]}]}'
)


def test_malformed_results_are_refused_and_change_nothing(visit: Visit, tmp_path: Path):
    page = visit.page
    page.click("#tab-compare")
    for name, content in MALFORMED_RESULTS.items():
        (tmp_path / "results.json").write_text(content)
        page.set_input_files("#results-files", str(tmp_path / "results.json"))
        page.wait_for_selector("#trouble:not([hidden])")
        assert "no results of an evaluation" in page.inner_text("#trouble"), name
        assert page.locator("#results-table tr").count() == 0, name
        page.click("#tab-voice")
        page.click("#tab-compare")
        assert page.is_hidden("#trouble")
    (tmp_path / "results.json").write_text(UNKNOWN_VALUES)
    page.set_input_files("#results-files", str(tmp_path / "results.json"))
    visit.wait("document.querySelectorAll('#results-table tbody tr').length == 1")
    assert "–" in page.inner_text("#results-table tbody") and page.locator("#results-table i").count() == 0
    page.click("#results-table .choice")


def test_a_folder_is_added_to_the_gallery(visit: Visit, people: Path, tmp_path: Path):
    page = visit.page
    for name in ("a/1.png", "b/2.png"):
        (tmp_path / name).parent.mkdir()
        shutil.copy(people / "pictures" / "007.png", tmp_path / name)
    (tmp_path / ".hidden").write_text("not sent")
    page.click("#tab-gallery")
    visit.wait("document.querySelectorAll('#gallery-faces li').length > 1")
    before = page.evaluate("document.querySelectorAll('#gallery-faces li').length")
    page.set_input_files("#gallery-directory", str(tmp_path))
    shown = "document.querySelectorAll('#gallery-faces li').length"
    visit.wait(f"{shown} == {before + 2}")
    assert "2 of 2 files added" in page.inner_text("#gallery-note")
    for _ in range(2):
        last = "document.querySelector('#gallery-faces li:last-child img')"
        page.locator("#gallery-faces img").last.scroll_into_view_if_needed()
        visit.wait(f"{last}.complete && {last}.naturalWidth > 0")  # or it is asked for too late
        page.locator("#gallery-faces .remove").last.click()
        before -= 1
        visit.wait(f"{shown} == {before + 2}")


def test_a_large_file_is_refused_before_it_is_sent(visit: Visit, tmp_path: Path):
    page = visit.page
    path = tmp_path / "large.wav"
    with path.open("wb") as file:
        file.truncate(40 * 2**20)
    page.set_input_files("#voice-file", str(path))
    page.wait_for_selector("#trouble:not([hidden])")
    assert page.inner_text("#trouble") == "large.wav: 40 MB, expected at most 32 MB"


def test_what_was_sent_is_deleted_when_the_page_is_left(visit: Visit, people: Path):
    page = visit.page
    page.set_input_files("#voice-file", str(people / "voice.wav"))
    page.wait_for_selector("#heard")
    address = page.get_attribute("#heard .spectrogram img", "src")
    assert page.evaluate("address => fetch(address).then(answer => answer.status)", address) == 200
    page.goto(f"{visit.address}/docs")
    status = "address => fetch(address, {cache: 'no-store'}).then(answer => answer.status)"
    end = time.monotonic() + PATIENCE
    while page.evaluate(status, address) != 404:
        assert time.monotonic() < end
        time.sleep(0.1)
    visit.problems[:] = [each for each in visit.problems if "404" not in each]  # the question itself


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
