"""The page where `voiceface models get real` fetched the networks: fop answers, faces are found."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from test_studio_page import NUM_PEOPLE, WIDTHS, Visit, begin_visit, run_studio

pytestmark = pytest.mark.installed_networks
NETWORKS = ("voice_encoder", "face_encoder", "face_detector", "face_mesh")
SYSTEMS = ["fop", "seeking_shape"]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, browser_path: str) -> Iterator[str]:
    """A running studio with the networks of the user's cache."""
    from voiceface.real.installation import find_installed

    if missing := [name for name in NETWORKS if find_installed(name) is None]:
        pytest.skip(f"not installed: {', '.join(missing)}; voiceface models get real fetches them")
    home = tmp_path_factory.mktemp("home")
    arguments = ["--people", str(NUM_PEOPLE), "--cache", str(home / "cache")]
    with run_studio(SYSTEMS, *arguments, home=home) as found:
        yield found


@pytest.fixture(params=WIDTHS)
def visit(request: pytest.FixtureRequest, browser: Any, address: str) -> Iterator[Visit]:
    with begin_visit(browser, address, request.param) as found:
        yield found


@pytest.fixture(scope="module")
def crowd(people: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture of two invented people beside each other."""
    from PIL import Image

    picture = Image.new("RGB", (800, 420), (90, 110, 130))
    for name, place in (("000.png", (40, 60)), ("002.png", (440, 60))):
        with Image.open(people / "pictures" / name) as face:
            picture.paste(face.resize((300, 300)), place)
    path = tmp_path_factory.mktemp("crowd") / "two people.png"
    picture.save(path)
    return path


def test_fop_answers_a_voice_from_the_microphone(visit: Visit):
    page = visit.page
    page.click("#record")
    page.wait_for_selector("#heard")
    visit.wait_for_answers("voice-answers", len(SYSTEMS))
    assert page.locator("#answer-fop .candidates li").count() == NUM_PEOPLE
    page.locator("#voice-people button").nth(1).click()
    visit.wait("document.querySelector('#answer-fop .verdict')?.innerText.startsWith('true face: rank')")


def test_the_faces_of_a_picture_are_marked_and_one_is_picked(visit: Visit, crowd: Path):
    page = visit.page
    page.click("#tab-face")
    page.set_input_files("#face-file", str(crowd))
    page.wait_for_selector(".face-box")
    boxes = page.locator(".face-box")
    assert boxes.count() == 2
    visit.wait_for_answers("face-answers", len(SYSTEMS))
    scores = "document.querySelector('#face-answer-fop .candidates').innerText"
    first = page.evaluate(scores)
    frames = [boxes.nth(i).bounding_box() for i in (0, 1)]
    picture = page.locator(".seen-picture img").bounding_box()
    assert {frame["x"] < picture["x"] + picture["width"] / 2 for frame in frames} == {True, False}
    boxes.nth(1).focus()
    page.keyboard.press("Enter")
    assert boxes.nth(1).get_attribute("aria-pressed") == "true"
    assert boxes.nth(0).get_attribute("aria-pressed") == "false"
    visit.wait("document.querySelector('#face-answer-fop').dataset.state == 'done'")
    visit.wait(f"{scores} != {first!r}")


def test_a_picture_without_a_face_is_told(visit: Visit, tmp_path: Path):
    import numpy as np
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 255, (300, 300, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    visit.page.click("#tab-face")
    visit.page.set_input_files("#face-file", str(tmp_path / "noise.png"))
    visit.page.wait_for_selector("#seen")
    assert "no face found" in visit.page.inner_text("#seen")
    assert visit.page.is_hidden("#face-bar")
