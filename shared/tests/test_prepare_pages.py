"""Pages of `voiceface prepare` and the pieces of speech that they list."""

import html
import re
from types import SimpleNamespace

from fake_videos import speaker, write_fake_video
from prepare_calls import people, prepare
from voiceface.preparation.settings import GatherSettings, VideoSettings
from voiceface.preparation.video_step import cut_pieces


def pieces(*spoken, settings=None):
    """(track, start, end) of clips, and reasons of the rest, for (track, start, end) of speech."""
    attributions = [
        SimpleNamespace(
            segment=SimpleNamespace(start=start, end=end), track=track, correlation=0.5, reason="no face"
        )
        for track, start, end in spoken
    ]
    clips, unused = cut_pieces(attributions, settings or VideoSettings())
    return [(clip.track, clip.start, clip.end) for clip in clips], [each.reason for each in unused]


def test_short_pauses_join_and_long_speech_is_cut_evenly():
    assert pieces((0, 0, 2), (0, 2.4, 4)) == ([(0, 0, 4)], [])
    assert pieces((0, 0, 2), (0, 2.6, 4)) == ([(0, 0, 2), (0, 2.6, 4)], [])
    assert pieces((0, 0, 8), (0, 8, 15)) == ([(0, 0, 8), (0, 8, 15)], []), "cut at a quiet place before"
    assert pieces((0, 0, 24)) == ([(0, 0, 8), (0, 8, 16), (0, 16, 24)], [])
    assert pieces((0, 5, 5.9)) == ([], ["shorter than 1 s"])


def test_speech_of_others_and_of_nobody_lies_in_no_clip():
    assert pieces((0, 0, 2), (1, 2.05, 2.2), (0, 2.3, 4))[0] == [(0, 0, 2), (0, 2.3, 4)]
    assert pieces((0, 0, 2), (None, 2.05, 2.2), (0, 2.3, 4)) == ([(0, 0, 2), (0, 2.3, 4)], ["no face"])


def page_text(path):
    """What a reader sees of a page, in one line."""
    text = re.sub(r"<(script|style).*?</\1>", "", path.read_text(), flags=re.S)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", text)).split())


def test_pages_show_names_as_they_are_and_numbers_with_their_nouns(tmp_path):
    folder = tmp_path / "videos"
    write_fake_video(folder / "Ann_Lee" / "my_first.mp4", [speaker(1, 0, 6)])
    write_fake_video(folder / "Bob" / "b.mp4", [speaker(2, 0, 4), speaker(3, 5, 7)], seed=1)
    done = prepare(folder, tmp_path / "data", GatherSettings(min_clips=1, min_images=1, max_images=1))
    assert people(done) == {"Ann_Lee": (1, 1), "Bob": (1, 1)}
    for name in ("prepare.html", "clusters.html"):
        page = page_text(tmp_path / "data" / name)
        assert "Ann_Lee" in page and "Ann Lee" not in page and "my_first.mp4" in page
        assert not re.findall(r"(?<![\d.,-])1 (?:clips|images|tracks|people|rows|videos)\b", page)
    assert "1 clip, 1 image" in page_text(tmp_path / "data" / "prepare.html")
    assert "1 track" in page_text(tmp_path / "data" / "clusters.html")
