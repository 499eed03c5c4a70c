"""Plugins of the suite: which systems are available, loading of their checkpoints, cards of a page."""

from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
from stub_systems import build_stub_systems
from voiceface.suite import plugins
from voiceface.suite.cards import MAX_INTERACTIVE_MESHES, build_probe_ranking, build_system_cards
from voiceface.suite.inference import GalleryEntry, SystemOutputs, Utterance, load_systems
from voiceface.suite.plugins import ENTRY_POINT_GROUP, SystemSet, find_systems


def entry(name: str, value: str) -> EntryPoint:
    return EntryPoint(name, f"stub_systems:{value}", ENTRY_POINT_GROUP)


def test_known_systems_come_first_and_missing_ones_have_an_installation_command(monkeypatch):
    monkeypatch.setattr(plugins.util, "find_spec", lambda name: name == "cmpc2" or None)
    systems = find_systems(
        [entry("aaa", "IMAGE_SYSTEM"), entry("sf2f", "IMAGE_SYSTEM"), entry("voicestyle", "NOTHING")]
    )
    assert [system.name for system in systems.found] == ["grey", "grey"]
    assert systems.unavailable["seeking_shape"] == "not installed: pip install ./packages/seeking_shape"
    assert "no entry point" in systems.unavailable["cmpc2"]
    assert "cannot be loaded" in systems.unavailable["voicestyle"]
    assert set(systems.unavailable) == set(plugins.KNOWN_SYSTEMS) - {"sf2f"}


def test_entry_points_of_another_type_are_refused():
    with pytest.raises(TypeError, match=r"sf2f.*object"):
        find_systems([entry("sf2f", "NOT_A_SYSTEM")])


def test_selecting_a_missing_system_names_the_reason():
    systems = SystemSet(build_stub_systems({}), {"sf2f": "not installed: somehow"})
    assert [system.name for system in systems.select(["constant"]).found] == ["constant"]
    with pytest.raises(ValueError, match=r"not installed: somehow.*constant"):
        systems.select(["sf2f"])


def test_systems_without_bundled_weights_are_skipped_and_given_checkpoints_must_exist(tmp_path):
    def broken(weights, **_):
        raise FileNotFoundError("no weights here")

    candidates = (plugins.AssociationSystem("lost", "", broken), build_stub_systems({})[3])
    models, available = load_systems(SystemSet(candidates, {}), {})
    assert list(models) == ["mean"] and available.unavailable == {"lost": "no weights here"}
    with pytest.raises(FileNotFoundError, match="no weights here"):
        load_systems(SystemSet(candidates, {}), {"lost": tmp_path})
    with pytest.raises(ValueError, match="no system can be used"):
        load_systems(SystemSet(candidates[:1], {}), {})


def test_the_correct_face_is_marked_and_set_apart_if_its_rank_is_low():
    faces = [GalleryEntry(str(k), (Path(f"{k}.jpg"),), str(k)) for k in range(12)]
    scores = -np.arange(12.0)
    near, far = (
        build_probe_ranking(Utterance("v", Path("v.wav"), identity), faces, scores, num_shown=4)
        for identity in ("2", "9")
    )
    assert [(c.rank, c.correct) for c in near.candidates] == [(1, False), (2, False), (3, True), (4, False)]
    assert [(c.rank, c.correct) for c in far.candidates][-1] == (10, True) and len(far.candidates) == 5
    unknown = build_probe_ranking(Utterance("v", Path("v.wav")), faces, scores, num_shown=4)
    assert not unknown.labels_known and not any(c.correct for c in unknown.candidates)


def test_a_page_has_a_dozen_interactive_meshes_and_stills_of_the_others():
    mesh, triangles = np.eye(3, dtype=np.float32), np.array([[0, 1, 2]])
    outputs = SystemOutputs(meshes={"m": [mesh] * 15}, triangles={"m": triangles})
    cards = build_system_cards(outputs, [Utterance(str(k), Path("v.wav")) for k in range(15)], [], range(15))
    kinds = [type(card.tiles[0]).__name__ for card in cards]
    assert kinds == ["MeshView"] * MAX_INTERACTIVE_MESHES + ["ImageTile"] * 3


def test_systems_that_lack_more_than_their_package_are_left_out_with_the_reason():
    def require():
        raise FileNotFoundError("the networks are missing; fetch them")

    ready = build_stub_systems({})
    systems = SystemSet((plugins.AssociationSystem("unready", "", ready[3].load, None, require), *ready), {})
    found = systems.without_unready()
    assert found.found == tuple(ready)
    assert found.unavailable == {"unready": "the networks are missing; fetch them"}
