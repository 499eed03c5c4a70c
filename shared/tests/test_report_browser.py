"""Pages in a real browser: no errors, every picture there, nothing past a narrow screen, meshes drawn."""

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


def a_page(path):
    """A page with everything that a demo shows."""
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (64, 64, 3), np.uint8)
    sound = AudioSource(np.sin(np.arange(24000) / 9).astype(np.float32))
    head = MeanHeadGenerator()
    mesh = head.generate_vertices(path)
    candidates = [
        RankedCandidate(f"A_person_with_a_long_name.{k:05d}", k + 1, k == 3, 0.5 - k / 20, picture)
        for k in range(9)
    ]
    query = ProbeRanking("voice", candidates, gallery_size=100)
    long = "a_system_with_a_name_that_does_not_end_anywhere_near"
    story = SystemCard(
        "Somebody_with_a_rather_long_name.00116",
        sound,
        [
            ImageTile("True face", picture, is_ground_truth=True),
            ImageTile(long, None, "nothing was made"),
            MeshView("True head", mesh, head.triangles, still_image=render_mesh_still(mesh, head.triangles)),
            MeshView(long, mesh, head.triangles),
        ],
        [SystemRanking(long, query), SystemRanking("short", query)],
        "a note",
        ["somebody: could not hear anything in a/very/long/path/to/a/file/that/goes/on/and/on.wav"],
    )
    rows = [ResultRow("1:2 matching", 0.8, "v2f", "G", "match_g_v2f_2_test", 0.7, 0.9, 0.5, 0.5, 1.0)]
    return build_report(
        path,
        title="From a voice to a face",
        facts={"people": 100},
        disclaimers=["Mind this."],
        headlines=[Headline(long, 0.8, 0.7, 0.9, 0.5, 0.5, 1.0, "note")] * 5,
        system_cards=[story] * 3,
        systems=[SystemResults(name, rows) for name in (long, "b", "c")],
        combined_title="All",
        system_tables=[Table("Who", ["system", "what", "weights"], [[long, "it does " * 20, "x" * 60]])],
        retrieval_examples=[RetrievalExamples("Voice to face", "v2f", [query])],
        identity_groups=[
            IdentityGroup("People", [IdentityCard("Somebody", 0.5, image=picture, audio=sound)])
        ],
        roc=[Plot("ROC", [Curve(long, [0, 1], [0, 1], note="AUC 50 %")])],
        responsible_use=["Nobody may be identified."],
        commands="voiceface demo --out " + "x" * 200,
    )


@pytest.mark.parametrize(("width", "dark"), SCREENS)
def test_a_page_with_everything_holds_on_every_screen(chromium, tmp_path, width, dark):
    found = chromium.look(a_page(tmp_path / "page.html"), width, dark=dark)
    assert not found["errors"] and not found["broken"] and found["images"] > 60
    assert found["scroll"] <= found["width"] == width and not found["sticking_out"]
    assert found["meshes"] == len(found["meshes_drawn"]) == 6
    assert all(0.05 < share < 0.9 for share in found["meshes_drawn"])
    assert found["voices"] == 4 and "responsible-use" in found["sections"]


def test_what_is_wrong_with_a_page_is_seen(chromium, tmp_path):
    bad = tmp_path / "bad.html"
    bad.write_text(
        '<!doctype html><meta name="viewport" content="width=device-width"><main>'
        '<img src="data:image/png;base64,AA" alt="torn"><div style="width:900px;height:9px">wide</div>'
        "</main><script>nothing.there()</script>"
    )
    found = chromium.look(bad, 390)
    assert found["broken"] == ["torn"] and found["sticking_out"] == ["DIV."] and found["scroll"] > 390
    assert any("nothing" in str(error) for error in found["errors"])


def test_a_still_is_lit_inside_its_frame_and_the_same_for_a_scaled_mesh():
    head = MeanHeadGenerator()
    mesh = head.generate_vertices(None)
    still = render_mesh_still(mesh, head.triangles, image_size=120)
    seen = (still != still[0, 0]).any(axis=2)
    assert 0.15 < seen.mean() < 0.8 and not seen[0].any() and not seen[:, 0].any()
    assert (
        np.abs(still.astype(int) - render_mesh_still(3 * mesh + 5, head.triangles, image_size=120)).mean() < 1
    )
