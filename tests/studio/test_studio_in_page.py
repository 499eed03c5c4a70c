"""The studio without a server: its networks run in a real browser and answer what Python answers."""

import base64
import functools
import http.server
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("onnxruntime", reason='the extra "onnx" is not installed')

from test_studio_page import WIDTHS, Visit

RANKING = ("seeking_shape", "archetype_agnostic", "cmpc2", "fop")
SYSTEMS = (*RANKING, "sf2f", "perceptionist")
FETCHED = (
    "fop",
    "face_detector",
)  # beginnings of files that are there with `voiceface models get real` alone
NUM_PEOPLE, PATIENCE = 4, 60.0
TOLERANCE = 1e-5
LARGEST_FOLDER = 20e6  # bytes
TASKS = (Path(__file__).parent / "in_page_tasks.js").read_text(encoding="utf-8")


class Server(http.server.SimpleHTTPRequestHandler):
    """Any web server: files as they are, below a path; counts what is asked for."""

    asked: ClassVar[list[str]] = []
    names_encoding: ClassVar[bool] = False

    def end_headers(self) -> None:
        if self.names_encoding and self.path.endswith(".gz"):
            self.send_header("Content-Encoding", "gzip")
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        self.asked.append(self.path)


@pytest.fixture(scope="session")
def folder(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The static folder of the systems that are installed."""
    modules = os.environ.get("VOICEFACE_NODE_MODULES", "build/node/node_modules")
    if not (Path(modules) / "onnxruntime-web").is_dir():
        pytest.skip("no onnxruntime-web: nox -s studio installs it by npm (VOICEFACE_NODE_MODULES)")
    from voiceface.suite.plugins import find_systems

    environment = {name: value for name, value in os.environ.items() if name != "VOICEFACE_HOME"}
    if user := os.environ.get("VOICEFACE_HOME_OF_USER"):  # as conftest.py at the root keeps it
        environment["VOICEFACE_HOME"] = user
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("VOICEFACE_HOME", raising=False)
        if user:
            patch.setenv("VOICEFACE_HOME", user)
        found = find_systems().without_unready().found
    installed = [system.name for system in found if system.name in SYSTEMS]
    if not installed:
        pytest.skip("no system is installed")
    out = tmp_path_factory.mktemp("site") / "below" / "studio"
    command = [sys.executable, "-m", "voiceface", "serve", "--write", str(out), "--node-modules", modules]
    command += ["--cache", str(cache), "--people", str(NUM_PEOPLE), "--systems", *installed]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="session")
def site(folder: Path) -> Iterator[str]:
    handler = functools.partial(Server, directory=folder.parents[1])
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/below/studio/"
    server.shutdown()
    server.server_close()


@pytest.fixture
def visit(browser: Any, site: str) -> Iterator[Visit]:
    found = Visit.begin(browser, site, patience=PATIENCE)
    yield found
    found.page.context.close()
    assert not found.problems, found.problems


@pytest.fixture
def names(folder: Path) -> list[str]:
    """Systems of the folder."""
    return [each["name"] for each in json.loads((folder / "studio.json").read_text())["systems"]]


def ask(visit: Visit, task: str, *values: Any) -> Any:
    """Ask modules of the page, see in_page_tasks.js."""
    return visit.page.evaluate(f"async (values) => {{ {TASKS}\nreturn tasks.{task}(...values); }}", [*values])


def encode(values: NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(values, np.float32).tobytes()).decode()


def decode(text: str) -> NDArray[np.float32]:
    return np.frombuffer(base64.b64decode(text), np.float32)


def difference(found: NDArray[Any], expected: Any) -> float:
    """Largest difference, in units of the largest value."""
    values = np.asarray(expected, np.float64).ravel()
    return float(np.abs(found.astype(np.float64) - values).max() / np.abs(values).max())


def draw(model: Any, path: Path) -> Any:
    """Picture of sf2f, not rounded to bytes."""
    from sf2f.export import generate_reference_image
    from sf2f.speech import remove_silence
    from sf2f.windows import default_stride
    from voiceface.real.voice_samples import read_voice_samples

    speech = remove_silence(read_voice_samples(path).samples, 16000, model.data.speech)
    return generate_reference_image(model, speech, default_stride(model.data.windows.width))


@pytest.fixture(autouse=True)
def pitch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page finds speech by the pitch, Python by silero where that is installed."""
    monkeypatch.setenv("VOICEFACE_SPEECH_FINDER", "pitch")


@pytest.fixture(scope="session")
def expected() -> Callable[[str, Path], Any]:
    """What Python answers: embedding, picture or vertices of a recording."""
    from voiceface.suite.plugins import find_systems

    load = functools.cache(lambda name: find_systems().select([name]).found[0].load(None))

    def answer(name: str, path: Path) -> Any:
        model = load(name)
        if name == "sf2f":
            return draw(model.model, path)
        return model.generate_vertices(path) if name == "perceptionist" else model.embed_voices(path).numpy()

    answer.load = load  # type: ignore[attr-defined]
    return answer


def test_answers_are_those_of_python(
    visit: Visit, cache: Path, names: list[str], expected: Any, record_property: Any
):
    from voiceface.studio.people import write_people

    worst: dict[str, float] = {}

    def compare(name: str, found: str, wanted: Any) -> None:
        worst[name] = max(worst.get(name, 0), difference(decode(found), wanted))
        assert worst[name] < TOLERANCE, (name, worst[name])

    names = [name for name in names if name != "fop"]
    ranking = [name for name in names if name in RANKING]
    for person in write_people(cache, NUM_PEOPLE)[1]:
        for name, found in ask(visit, "answers", person.id, names).items():
            compare(name, found, expected(name, person.voice))
        for name, found in ask(visit, "faces", person.id, ranking).items():
            compare(f"{name}, face", found, expected.load(name).embed_faces(person.face).numpy())
    record_property("largest differences", json.dumps(worst))


@pytest.mark.installed_networks
def test_fop_hears_as_python_does(visit: Visit, cache: Path, names: list[str], expected: Any):
    """Where `voiceface models get real` fetched its encoders; faces it takes aligned ones alone."""
    if "fop" not in names:
        pytest.skip("fop and its encoders are not installed: voiceface models get real")
    from voiceface.studio.people import write_people

    for person in write_people(cache, NUM_PEOPLE)[1]:
        found = decode(ask(visit, "answers", person.id, ["fop"])["fop"])
        assert difference(found, expected("fop", person.voice)) < TOLERANCE


@pytest.mark.parametrize("hertz", [440, 1000])
def test_tones_are_heard_as_by_python(visit: Visit, names: list[str], expected: Any, hertz: int):
    """Some bands of a tone vary by a thousandth of their level: means must not lose digits."""
    if "seeking_shape" not in names:
        pytest.skip("seeking_shape is not installed")
    wave = np.rint(0.8 * 32767 * np.sin(2 * np.pi * hertz * np.arange(64000) / 16000)).astype(np.float32)
    found = decode(ask(visit, "embedding", "seeking_shape", encode(wave / 32768)))
    assert difference(found, expected.load("seeking_shape").embed_voices(wave).numpy()) < TOLERANCE


def recordings() -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Invented speech-like sound with pauses of different kinds."""
    rng = np.random.default_rng(0)
    time = np.arange(24000) / 16000
    buzz = sum(np.sin(2 * np.pi * 120 * k * time) / k for k in range(1, 20)) * (
        0.5 + np.abs(np.sin(5 * time))
    )
    speech = (0.1 * buzz + rng.normal(0, 0.0005, len(time))).astype(np.float32)
    for name, level in (("zeros", 0.0), ("quiet", 0.0003), ("room tone", 0.004)):
        pause = rng.normal(0, 1, 30000).astype(np.float32) * np.float32(level)
        yield name, np.concatenate([pause[:9000], speech, pause, speech, pause[:20000]])
    yield "whole", speech
    yield "loud", np.clip(4 * speech, -1, 1)


def test_spoken_parts_are_those_of_python(visit: Visit):
    from voiceface.audio.recording_quality import measure_quality
    from voiceface.audio.spoken_parts import find_spoken_parts

    for name, wave in recordings():
        parts, quality = ask(visit, "speech", encode(wave))
        assert [tuple(part) for part in parts] == list(find_spoken_parts(wave).parts), name
        known = measure_quality(wave)
        assert quality["speech_seconds"] == pytest.approx(known.speech_seconds, abs=1e-6), name
        assert quality["level_db"] == pytest.approx(known.level_db, abs=1e-3), name
        assert (
            quality["clipped"] == pytest.approx(known.clipped) and quality["telephone"] == known.is_telephone
        )


@pytest.mark.parametrize(("width", "height"), [(200, 200), (97, 140), (300, 121), (64, 64), (256, 256)])
@pytest.mark.parametrize("mode", ["letterbox", "stretch", "bicubic"])
def test_pictures_are_resized_as_by_python(visit: Visit, width: int, height: int, mode: str):
    from PIL import Image
    from voiceface.images.transforms import PADDING_VALUE, crop_or_pad, resize

    image = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
    if mode == "bicubic":
        if width != height:
            pytest.skip("the page cuts out squares; which axis is first depends on the version of Pillow")
        wanted = np.asarray(Image.fromarray(image).resize((128, 128), Image.Resampling.BICUBIC))
    else:
        wanted = crop_or_pad(resize(image, 128, mode), 128, 0.5, PADDING_VALUE)  # type: ignore[arg-type]
    found = decode(ask(visit, "resized", encode(image), width, height, mode)).reshape(3, 128, 128)
    assert np.abs(found - wanted.transpose(2, 0, 1)).max() <= (0 if mode == "bicubic" else 1)


@pytest.mark.installed_networks
def test_faces_are_found_where_python_finds_them(visit: Visit, folder: Path, cache: Path):
    """Where `voiceface models get real` fetched the detector."""
    if json.loads((folder / "studio.json").read_text())["detector"] is None:
        pytest.skip("no face detector: voiceface models get real")
    from PIL import Image
    from voiceface.real.face_detector import load_face_detector
    from voiceface.studio.people import write_people

    people = write_people(cache, NUM_PEOPLE)[1]
    picture = Image.new("RGB", (640, 360), (90, 110, 130))
    for person, place, side in ((people[0], (40, 60), 220), (people[1], (380, 120), 160)):
        picture.paste(Image.open(person.face).resize((side, side)), place)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    wanted = load_face_detector().detect([np.asarray(picture)])[0]
    assert len(wanted.boxes) == 2
    found = ask(visit, "boxes", base64.b64encode(buffer.getvalue()).decode())
    assert [each["number"] for each in found] == [1, 2]
    size = np.array([640, 360, 640, 360])
    for face in found:
        distances = np.abs(wanted.boxes - np.array(face["box"]) * size).max(axis=1)
        assert distances.min() < 6  # pixels: pictures are made smaller by other filters


@pytest.mark.parametrize("name", WIDTHS)
def test_nothing_is_asked_for_after_loading(
    browser: Any, site: str, people: Path, names: list[str], name: str
):
    visit = Visit.begin(browser, site, name, PATIENCE)
    page = visit.page
    asked = len(Server.asked)
    page.click("#agree")
    page.locator("#voice-people button").nth(1).click()
    visit.wait_for_answers("voice-answers", len(names))
    ranking = next(each for each in names if each in RANKING)
    assert page.locator(f"#answer-{ranking} .candidates li").count() == NUM_PEOPLE
    visit.wait(f"[...document.querySelectorAll('#answer-{ranking} img')].every(i => i.naturalWidth > 0)")
    page.click("#heard .player button")
    visit.wait("document.querySelector('#heard audio').currentTime > 0.1")
    page.set_input_files("#voice-file", str(people / "voice.wav"))
    visit.wait("document.querySelector('#heard h2')?.innerText == 'voice.wav'")
    page.click("#record")
    visit.wait("document.querySelector('#level').getAttribute('aria-valuenow') > 10")
    visit.wait("document.querySelector('#heard h2')?.innerText == 'microphone.wav'")
    visit.wait_for_answers("voice-answers", len(names))
    page.click("#tab-gallery")
    page.set_input_files("#gallery-files", [str(people / "pictures" / f"00{i}.png") for i in range(3)])
    visit.wait("document.querySelectorAll('#gallery-faces li').length == 3")
    page.click("#tab-voice")
    page.select_option("#voice-scope", "own")
    visit.wait(f"document.querySelector('#answer-{ranking}')?.innerText.includes('best of 3')")
    page.click("#tab-face")
    page.set_input_files("#face-file", str(people / "pictures" / "005.png"))
    visit.wait(f"document.querySelector('#face-answer-{ranking}')?.dataset.state == 'done'")
    page.focus(".face-box")
    page.keyboard.press("-")  # smaller, where no network finds faces
    visit.wait(f"document.querySelector('#face-answer-{ranking}')?.dataset.state == 'done'")
    page.locator(f"#face-answer-{ranking} .player button").first.click()
    visit.wait(f"document.querySelector('#face-answer-{ranking} audio').currentTime > 0.05")
    for tab in ("compare", "systems"):
        page.click(f"#tab-{tab}")
    visit.require_fit()
    assert len(Server.asked) == asked, Server.asked[asked:]
    page.context.close()
    assert not visit.problems, visit.problems


def test_servers_may_let_the_browser_unpack(
    browser: Any, site: str, names: list[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Server, "names_encoding", True)
    visit = Visit.begin(browser, site, patience=PATIENCE)
    visit.page.click("#agree")
    visit.page.locator("#voice-people button").nth(1).click()
    visit.wait_for_answers("voice-answers", len(names))
    visit.page.context.close()
    assert not visit.problems, visit.problems


def test_a_file_that_is_none_and_a_voice_that_is_none(visit: Visit, tmp_path: Path):
    import soundfile

    page = visit.page
    page.click("#agree")
    (tmp_path / "<b>.wav").write_bytes(b"no sound")
    soundfile.write(tmp_path / "noise.wav", np.random.default_rng(0).normal(0, 0.1, 32000), 16000)
    page.set_input_files("#voice-file", str(tmp_path / "<b>.wav"))
    page.wait_for_selector("#trouble:not([hidden])")
    assert "<b>.wav" in page.inner_text("#trouble")
    page.set_input_files("#voice-file", str(tmp_path / "noise.wav"))
    visit.wait("document.querySelector('#trouble').innerText.includes('noise, music or other sound')")


def test_large_and_hostile_files_are_refused_in_the_page(visit: Visit, people: Path, tmp_path: Path):
    """Pixels and length by the header, before anything is unpacked; afterwards the page still answers."""
    import soundfile
    from test_studio_uploads import make_png_bomb

    page = visit.page
    page.click("#agree")
    with (tmp_path / "large.wav").open("wb") as file:
        file.truncate(40 * 2**20)
    soundfile.write(tmp_path / "hours.flac", np.zeros(8000 * 3600 * 2, np.int16), 8000)
    for side in (6000, 30_000):
        (tmp_path / f"{side}.png").write_bytes(make_png_bomb(side))
    (tmp_path / "script.svg").write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" width="90" height="90"><script>alert(1)</script></svg>'
    )
    (tmp_path / "nothing.png").write_bytes(b"")
    expectations = {
        ("#voice-file", "large.wav"): "40 MB, expected at most 32 MB",
        ("#voice-file", "hours.flac"): "longer than 120 s",
        ("#face-file", "6000.png"): "6000 x 6000 pixels",
        ("#face-file", "30000.png"): "cannot read it",
        ("#face-file", "script.svg"): "cannot read it",
        ("#face-file", "nothing.png"): "cannot read it",
        ("#gallery-files", "6000.png"): "6000 x 6000 pixels",
        ("#gallery-files", "hours.flac"): "longer than 120 s",
    }
    for (place, name), text in expectations.items():
        page.click(f"#tab-{place[1:].partition('-')[0]}")
        page.set_input_files(place, str(tmp_path / name))
        shown = f"{name}: "
        told = f"(text => text.startsWith({shown!r}) && text.includes({text!r}))"
        visit.wait(f"{told}(document.querySelector('#trouble').innerText)", PATIENCE)
    page.click("#tab-voice")
    page.set_input_files("#voice-file", str(people / "voice.wav"))
    page.wait_for_selector("#heard")


def test_accessibility(visit: Visit):
    axe = Path(os.environ.get("VOICEFACE_AXE", "node_modules/axe-core/axe.min.js"))
    if not axe.is_file():
        pytest.skip("no axe-core: npm install axe-core, and VOICEFACE_AXE=.../axe.min.js")
    page = visit.page
    page.click("#agree")
    page.locator("#face-people button").first.evaluate("button => button.click()")
    page.locator("#voice-people button").nth(1).click()
    visit.wait(
        "[...document.querySelectorAll('#voice-answers .answer')].every(a => a.dataset.state == 'done')"
    )
    for tab in ("voice", "face", "gallery", "systems"):
        page.click(f"#tab-{tab}")
        page.wait_for_timeout(300)
        page.evaluate(axe.read_text())
        result = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        assert not [each["id"] for each in result["violations"]], tab


def test_the_folder_is_small_and_names_no_other_place(folder: Path):
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(FETCHED)]
    assert sum(path.stat().st_size for path in files) <= LARGEST_FOLDER
    page = (folder / "index.html").read_text()
    assert "script-src 'self' 'wasm-unsafe-eval'" in page and "http" not in page.replace("http-equiv", "")
    assert "invent" not in page.replace("invented", "") and 'href="/' not in page and "in page:" not in page
