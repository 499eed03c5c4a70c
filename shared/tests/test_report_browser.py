"""Pages in a real browser: no errors, every image decoded, nothing wider than the screen, meshes rendered."""

import numpy as np
import pytest
from headless_browser import browser, find_browser
from stub_systems import MeanHeadGenerator
from voiceface.report import (
    AudioSource,
    Curve,
    Headline,
    IdentityCard,
    IdentityGroup,
    ImageTile,
    MeshView,
    Plot,
    ProbeRanking,
    RankedCandidate,
    ResultRow,
    RetrievalExamples,
    SystemCard,
    SystemRanking,
    SystemResults,
    Table,
    build_report,
)
from voiceface.report.system_card import render_mesh_still

pytestmark = pytest.mark.skipif(find_browser() is None, reason="no Chromium or Chrome is installed")
SCREENS = [(1280, False), (390, False), (390, True)]


@pytest.fixture(scope="module")
def chromium():
    with browser() as opened:
        yield opened


def build_full_page(path):
    """A page with all parts of a demo page."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (64, 64, 3), np.uint8)
    audio = AudioSource(np.sin(np.arange(24000) / 9).astype(np.float32))
    head = MeanHeadGenerator()
    mesh = head.generate_vertices(path)
    candidates = [
        RankedCandidate(f"An_identity_with_a_long_name.{k:05d}", k + 1, k == 3, 0.5 - k / 20, image)
        for k in range(9)
    ]
    probe = ProbeRanking("voice", candidates, gallery_size=100)
    long = "a_system_with_a_name_that_does_not_end_anywhere_near"
    card = SystemCard(
        "Identity_with_a_rather_long_name.00116",
        audio,
        [
            ImageTile("True face", image, is_ground_truth=True),
            ImageTile(long, None, "no image was generated"),
            MeshView("True head", mesh, head.triangles, still_image=render_mesh_still(mesh, head.triangles)),
            MeshView(long, mesh, head.triangles),
        ],
        [SystemRanking(long, probe), SystemRanking("short", probe)],
        "a note",
        ["stub: no speech in a/very/long/path/to/a/file/that/goes/on/and/on.wav"],
    )
    rows = [ResultRow("1:2 matching", 0.8, "v2f", "G", "match_g_v2f_2_test", 0.7, 0.9, 0.5, 0.5, 1.0)]
    return build_report(
        path,
        title="From a voice to a face",
        facts={"identities": 100},
        disclaimers=["A disclaimer."],
        headlines=[Headline(long, 0.8, 0.7, 0.9, 0.5, 0.5, 1.0, "note")] * 5,
        system_cards=[card] * 3,
        systems=[SystemResults(name, rows) for name in (long, "b", "c")],
        combined_title="All",
        system_tables=[
            Table("Systems", ["system", "description", "checkpoint"], [[long, "some words " * 20, "x" * 60]])
        ],
        retrieval_examples=[RetrievalExamples("Voice to face", "v2f", [probe])],
        identity_groups=[
            IdentityGroup("Identities", [IdentityCard("Identity", 0.5, image=image, audio=audio)])
        ],
        roc=[Plot("ROC", [Curve(long, [0, 1], [0, 1], note="AUC 50 %")])],
        responsible_use=["Do not identify anyone."],
        commands="voiceface demo --out " + "x" * 200,
    )


@pytest.mark.parametrize(("width", "dark"), SCREENS)
def test_a_full_page_fits_every_screen(chromium, tmp_path, width, dark):
    layout = chromium.inspect(build_full_page(tmp_path / "page.html"), width, dark=dark)
    assert not layout["errors"] and not layout["broken"] and layout["images"] > 60
    assert layout["scroll"] <= layout["width"] == width and not layout["sticking_out"]
    assert layout["meshes"] == len(layout["meshes_drawn"]) == 6
    assert all(0.05 < share < 0.9 for share in layout["meshes_drawn"])
    assert layout["voices"] == 4 and "responsible-use" in layout["sections"]


def test_faults_of_a_page_are_detected(chromium, tmp_path):
    bad = tmp_path / "bad.html"
    bad.write_text(
        '<!doctype html><meta name="viewport" content="width=device-width"><main>'
        '<img src="data:image/png;base64,AA" alt="torn"><div style="width:900px;height:9px">wide</div>'
        "</main><script>nothing.there()</script>"
    )
    layout = chromium.inspect(bad, 390)
    assert layout["broken"] == ["torn"] and layout["sticking_out"] == ["DIV."] and layout["scroll"] > 390
    assert any("nothing" in str(error) for error in layout["errors"])


def test_a_still_image_is_lit_inside_its_frame_and_the_same_for_a_scaled_mesh():
    head = MeanHeadGenerator()
    mesh = head.generate_vertices(None)
    still = render_mesh_still(mesh, head.triangles, image_size=120)
    visible = (still != still[0, 0]).any(axis=2)
    assert 0.15 < visible.mean() < 0.8 and not visible[0].any() and not visible[:, 0].any()
    assert (
        np.abs(still.astype(int) - render_mesh_still(3 * mesh + 5, head.triangles, image_size=120)).mean() < 1
    )
