"""`voiceface report` with the bundled weights of whatever is installed, on files as people have them."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import av
import numpy as np
import pytest
from PIL import Image
from voiceface.audio.loading import load_audio
from voiceface.suite.plugins import AssociationSystem, ImageSystem, MeshSystem, SystemSet, find_systems
from voiceface.suite.report import main
from voiceface.synthetic.writer import write_population

NUM_IDENTITIES = 10
AUDIO_KINDS = (
    (".m4a", "mp4", "aac", 44100),
    (".mp3", "mp3", "libmp3lame", 22050),
    (".flac", "flac", "flac", 48000),
)
IMAGE_KINDS = ((".jpg", 400), (".png", 90), (".bmp", 64), (".webp", 700), (".jpeg", 33))
BROWSER = Path(__file__).parents[2] / "shared" / "tests" / "headless_browser.py"


@pytest.fixture(scope="module")
def systems() -> SystemSet:
    found = find_systems().without_unready()  # fop needs networks that are fetched
    assert found.found, "nothing is installed"
    return found


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten people: recordings of three kinds and rates, pictures of five kinds and sizes, some files torn."""
    root = tmp_path_factory.mktemp("own")
    population = write_population(root / "tiny", "tiny", workers=1, progress=False)
    rows = [
        row.split(",")[:2] for row in (population / "list_wav" / "vox1_train.csv").read_text().split()[1:]
    ]
    for number, (voice, name) in enumerate(rows[:NUM_IDENTITIES]):
        clip = sorted((population / "wav" / voice).rglob("*.wav"))[0]
        ending, container, codec, rate = AUDIO_KINDS[number % len(AUDIO_KINDS)]
        target = root / "voices" / name / "deeper" / f"clip{ending}"
        target.parent.mkdir(parents=True)
        write_sound(target, load_audio(clip, scale="unit"), container, codec, rate)
        (root / "faces" / name).mkdir(parents=True)
        for picture in sorted((population / "faces" / name).iterdir()):
            suffix, side = IMAGE_KINDS[number % len(IMAGE_KINDS)]
            wide = Image.open(picture).resize((side, side + 7))
            (wide.convert("L") if number == 3 else wide).save(
                root / "faces" / name / f"{picture.stem}{suffix}"
            )
    first = root / "voices" / rows[0][1]
    (first / "torn.m4a").write_bytes(next(first.rglob("*.m4a")).read_bytes()[:300])
    (root / "faces" / rows[0][1] / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    return root


def test_looking_for_systems_imports_nothing_heavy(systems: SystemSet) -> None:
    code = "import sys; from voiceface.suite.plugins import find_systems; "
    code += "print(len(find_systems().found), 'torch' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.split() == [str(len(find_systems().found)), "False"]


def write_sound(path: Path, wave: np.ndarray, container: str, codec: str, rate: int) -> None:
    """Encode one channel, -1...1 at 16 kHz, as another kind of file and rate."""
    with av.open(str(path), "w", format=container) as file:
        stream = file.add_stream(codec, rate=rate, layout="mono")
        given = av.AudioFrame.from_ndarray((wave * 32767).astype(np.int16)[None], format="s16", layout="mono")
        given.rate = 16000
        resampler = av.AudioResampler(format=stream.codec_context.format, layout="mono", rate=rate)
        fifo = av.AudioFifo()
        for frame in [*resampler.resample(given), *resampler.resample(None)]:
            frame.pts = None
            fifo.write(frame)
        size = stream.codec_context.frame_size or 1024
        while (part := fifo.read(size, partial=True)) is not None:
            file.mux(stream.encode(part))
        file.mux(stream.encode(None))


def load_browser_module() -> ModuleType:
    """The helper of the shared package's tests."""
    spec = importlib.util.spec_from_file_location("headless_browser", BROWSER)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["headless_browser"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def page(own: Path, systems: SystemSet) -> Path:
    code = main(["--voices", str(own / "voices"), "--faces", str(own / "faces"), "--out", str(own / "out")])
    assert code == 0  # two files are torn
    return own / "out" / "report.html"


def test_every_installed_system_has_its_outputs_on_the_page(page: Path, systems: SystemSet) -> None:
    text, numbers = page.read_text("utf-8"), json.loads(page.with_suffix(".json").read_text())
    assert len(numbers["paired_identities"]) == NUM_IDENTITIES
    torn = {name.rsplit("/", 1)[1]: set(who) for name, who in numbers["skipped"].items()}
    assert torn == {"torn.m4a": {"all"}, "torn.png": {"all"}}
    for system in systems.found:
        assert system.name in numbers["checkpoints"] and system.name in text
        if isinstance(system, AssociationSystem):
            found = numbers["metrics"][system.name]
            assert found["num_utterances"] == found["num_identities"] == NUM_IDENTITIES
            assert (
                found["matching_accuracy"]["value"] > 0.65
            )  # voice and face fully coupled, genders included; chance is 0.5
            assert (
                0
                <= found["matching_accuracy"]["low"]
                <= found["matching_accuracy"]["value"]
                <= found["matching_accuracy"]["high"]
                <= 1
            )
            assert {len(answers) for answers in numbers["rankings"][system.name].values()} == {NUM_IDENTITIES}
    shown = 8  # voices with a card
    made = sum(isinstance(system, ImageSystem | MeshSystem) for system in systems.found)
    assert text.count('<li class="tile') == shown * (1 + made)
    assert "were trained on synthetic identities only" in text and 'href="#responsible-use"' in text


def test_the_page_holds_in_a_browser(page: Path, systems: SystemSet) -> None:
    helper = load_browser_module()
    if helper.find_browser() is None:
        pytest.skip("no Chromium or Chrome is installed")
    with helper.browser() as opened:
        for width in (1280, 390):
            found = opened.inspect(page, width)
            assert not found["errors"] and not found["broken"] and not found["sticking_out"]
            assert found["scroll"] <= width and found["voices"] == 8
            meshes = 8 * len(systems.mesh_systems)
            assert len(found["meshes_drawn"]) == min(meshes, 12) and all(found["meshes_drawn"])


def test_strangers_are_ranked_without_a_verdict(own: Path, tmp_path: Path) -> None:
    for number, folder in enumerate(sorted((own / "voices").iterdir())[1:4]):
        (tmp_path / "voices" / f"speaker{number}").mkdir(parents=True)
        file = next(path for path in folder.rglob("*") if path.is_file())
        (tmp_path / "voices" / f"speaker{number}" / file.name).write_bytes(file.read_bytes())
    out = tmp_path / "page.html"
    code = main(["--voices", str(tmp_path / "voices"), "--faces", str(own / "faces"), "--out", str(out)])
    assert code == 0 and "no accuracy is reported" in out.read_text("utf-8")
    assert json.loads(out.with_suffix(".json").read_text())["metrics"] == {}
