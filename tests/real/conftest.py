"""The networks of `voiceface.real` as installed for the user, and inputs from the synthetic population."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from debian_packages import LANDSCAPES, MUSIC, SPEECH, PackagesUnavailableError, fetch_packages
from numpy.typing import NDArray
from voiceface.audio.loading import load_audio
from voiceface.images.loading import load_image
from voiceface.real.catalogue import MODELS
from voiceface.real.installation import find_installed
from voiceface.synthetic.writer import write_population
from voiceface.testing.runs import use_one_thread

NEED_PACKAGES = ("test_real_people", "test_real_voice_check")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--inputs", type=int, default=40, help="inputs per comparison with an original")
    parser.addoption("--originals", type=Path, help="folder with the unpacked files of the catalogue")
    parser.addoption("--packages", type=Path, help="folder that keeps Debian's packages of sounds")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Fetch Debian's packages while tests run that do not need them; those that do come last."""
    items.sort(key=lambda item: item.path.stem in NEED_PACKAGES)
    folder = config.getoption("--packages")
    if folder and not config.option.collectonly and any(item.path.stem in NEED_PACKAGES for item in items):
        threading.Thread(target=fetch_early, args=(folder,), daemon=True).start()


def fetch_early(folder: Path) -> None:
    """Fetch all packages; a test that needs them tells of errors."""
    with suppress(PackagesUnavailableError):
        fetch_packages(folder, SPEECH + MUSIC + LANDSCAPES)


@pytest.fixture(scope="session", autouse=True)
def networks_installed() -> None:
    """Skip everything where the networks were not fetched."""
    missing = [name for name in MODELS if find_installed(name) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}; run `voiceface models get real`")
    use_one_thread()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def num_inputs(request: pytest.FixtureRequest) -> int:
    """Inputs per comparison."""
    return request.config.getoption("--inputs")


@pytest.fixture(scope="session")
def samples() -> Path:
    """Folder of pictures of real people that VOICEFACE_SAMPLES names; it need not exist."""
    return Path(os.environ.get("VOICEFACE_SAMPLES", "absent"))


@pytest.fixture(scope="session")
def original(request: pytest.FixtureRequest) -> Callable[[str], Path]:
    """Network -> its published file, as taken out of the wheel."""
    folder = request.config.getoption("--originals")
    if folder is None:
        pytest.skip("the session `nox -s real` unpacks the published files; else give --originals FOLDER")
    return lambda name: folder / MODELS[name].member


@pytest.fixture(scope="session")
def population(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight synthetic identities, images of 256 pixels and utterances of up to eight seconds."""
    folder = tmp_path_factory.mktemp("population") / "data"
    changes = {"train": 6, "val": 1, "test": 1, "clips": 2, "images": 3}
    changes |= {"render_size": 256, "clip_seconds": 8.0}
    return write_population(folder, "tiny", workers=2, lists=False, progress=False, **changes)


@pytest.fixture(scope="session")
def pictures(population: Path, num_inputs: int) -> Callable[[int], Iterator[NDArray[np.uint8]]]:
    """Side -> `num_inputs` squares: turned, scaled and noisy faces, every eighth of noise alone."""
    faces = [load_image(path) for path in sorted(population.glob("faces/*/*.jpg"))]

    def make(side: int) -> Iterator[NDArray[np.uint8]]:
        rng = np.random.default_rng(side)
        for number in range(num_inputs):
            if number % 8 == 7:
                coarse = rng.integers(0, 256, (int(rng.integers(4, side)),) * 2 + (3,), np.uint8)
                yield cv2.resize(coarse, (side, side), interpolation=cv2.INTER_NEAREST)
                continue
            face = faces[int(rng.integers(len(faces)))]
            turn = cv2.getRotationMatrix2D(
                (128, 128), rng.uniform(-40, 40), side / 256 * 2 ** rng.uniform(-1, 0.7)
            )
            turn[:, 2] += side / 2 - 128 + rng.uniform(-side / 6, side / 6, 2)
            moved = cv2.warpAffine(face, turn, (side, side), borderMode=int(rng.choice([0, 1])))
            noisy = moved * rng.uniform(0.4, 1.2) + rng.normal(size=moved.shape) * rng.uniform(0, 20)
            yield noisy.clip(0, 255).astype(np.uint8)

    return make


@pytest.fixture(scope="session")
def recordings(population: Path, num_inputs: int) -> Callable[[], Iterator[NDArray[np.float32]]]:
    """`num_inputs` parts of utterances at 16 kHz, 0.2 s to 6 s, with pauses, noise and any level."""
    clips = [
        load_audio(path, scale="unit", sample_rate=16000, resample=True)
        for path in sorted(population.glob("wav/**/*.wav"))
    ]

    def make() -> Iterator[NDArray[np.float32]]:
        rng = np.random.default_rng(0)
        for _ in range(num_inputs):
            parts = [clips[int(rng.integers(len(clips)))] for _ in range(int(rng.integers(1, 3)))]
            pause = np.zeros(int(rng.integers(0, 16000)), np.float32)
            wave = np.concatenate([parts[0], pause, parts[-1]])
            length = int(rng.integers(3200, 96000))
            begin = int(rng.integers(0, max(1, len(wave) - length)))
            wave = wave[begin : begin + length] * 10 ** rng.uniform(-2, 0.3)
            noise = rng.normal(size=len(wave)) * 10 ** rng.uniform(-5, -2)
            yield (wave + noise).clip(-1, 1).astype(np.float32)

    return make
