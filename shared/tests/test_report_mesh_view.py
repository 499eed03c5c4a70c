"""Meshes in a page: coordinates survive the encoding, nothing is loaded, a still image is the fallback."""

import base64
import re

import numpy as np
import pytest
from voiceface.report import MeshView, build_report
from voiceface.report.media import MediaEncoder
from voiceface.report.mesh_view import QUANTISATION_STEPS, mesh_html, pack_mesh

CORNERS = np.array([[0, 1, 2], [0, 2, 3]])


def points(count: int = 4) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, 3)) * [80, 120, 60] + 5


def decoded(packed: dict[str, str]) -> tuple[np.ndarray, np.ndarray]:
    box = np.array(packed["box"].split(), float)
    steps = np.frombuffer(base64.b64decode(packed["points"]), "<u2").reshape(-1, 3)
    corners = np.frombuffer(base64.b64decode(packed["corners"]), "<u4" if packed["wide"] else "<u2")
    return box[:3] + steps / QUANTISATION_STEPS * box[3:], corners.reshape(-1, 3)


@pytest.mark.parametrize("count", [4, 70_000])
def test_a_packed_mesh_holds_points_to_a_step_and_corners_exactly(count):
    corners = np.vstack([CORNERS, [[count - 1, 1, 0]]])
    found, joined = decoded(pack_mesh(points(count), corners))
    step = np.ptp(points(count), axis=0) / QUANTISATION_STEPS
    assert (np.abs(found - points(count)) <= 0.5001 * step + 1e-4).all()
    assert (joined == corners).all()


def test_a_flat_mesh_can_be_packed():
    flat = points() * [1, 1, 0]
    assert decoded(pack_mesh(flat, CORNERS))[0] == pytest.approx(flat, abs=0.01)


@pytest.mark.parametrize(
    ("vertices", "triangles", "colors", "message"),
    [
        (points() * np.nan, CORNERS, None, "finite"),
        (points()[:, :2], CORNERS, None, "finite vertices"),
        (points(), CORNERS + 1, None, "there are 4"),
        (points(), CORNERS * 1.0, None, "triangles"),
        (points(), CORNERS, np.zeros((3, 3)), "one colour"),
    ],
)
def test_what_is_no_mesh_is_refused(vertices, triangles, colors, message):
    with pytest.raises(ValueError, match=message):
        pack_mesh(vertices, triangles, colors)


def test_a_page_with_a_mesh_is_whole_and_says_nothing_of_it_without_one(tmp_path):
    still = np.zeros((8, 8, 3), np.uint8)
    view = MeshView('A "face"', points(), CORNERS, np.ones((4, 3)), still, "of a test")
    text = build_report(tmp_path / "a.html", title="A", meshes=[view]).read_text("utf-8")
    assert "A &#34;face&#34;" in text and 'id="meshes"' in text and "data:image/jpeg" in text
    assert not re.search(r"(?:src|href)=[\"'](?!data:|#)", text)
    assert text.count("<script>") == 1 and "webgl" in text
    without = build_report(tmp_path / "b.html", title="A").read_text("utf-8")
    assert "webgl" not in without and 'id="meshes"' not in without


def test_past_the_allowance_the_still_picture_is_left():
    still = np.zeros((8, 8, 3), np.uint8)
    media = MediaEncoder(1200)
    html = mesh_html(MeshView("A", points(2000), CORNERS, still_image=still), media)
    assert "<canvas" not in html and "<img" in html and media.num_skipped == 1
    assert "mesh not included" in mesh_html(MeshView("A", points(2000), CORNERS), media)
