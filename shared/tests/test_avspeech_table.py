"""AVSpeech's table, and the names by which local videos are found."""

import pytest
from voiceface.datasets.avspeech.table import AvspeechError, Segment, VideoIndex, read_segments


@pytest.mark.parametrize(
    "text, says",
    [
        ("abc,1,2,0.5\n", "line 1: 4 cells, expected 5"),
        ("abc,1,2,0.5,0.5\na b,1,2,0.5,0.5\n", "line 2, column 1: 'a b', expected a video id"),
        ("abc,1,2,0.5,0.5\n\nabc,1,two,0.5,0.5\n", "line 3, column 3: 'two', expected a number"),
        ("abc,1,nan,0.5,0.5\n", "line 1, column 3: 'nan'"),
        ("abc,5,2,0.5,0.5\n", "line 1, columns 2 and 3: from 5 s to 2 s"),
        ("abc,2,2,0.5,0.5\n", "line 1, columns 2 and 3"),
        ("abc,-1,2,0.5,0.5\n", "line 1, columns 2 and 3"),
        ("abc,1,2,0.5,180\n", "line 1, column 5: 180, expected a fraction"),
        ("abc,1,2,-0.1,0.5\n", "line 1, column 4: -0.1"),
        ("id,start,end,x,y\nid,start,end,x,y\n", "line 2, column 2: 'start'"),
        ('abc,"1\n', "not a table"),
    ],
)
def test_a_bad_row_is_named_by_its_line(tmp_path, text, says):
    (tmp_path / "rows.csv").write_text(text)
    with pytest.raises(AvspeechError) as caught:
        list(read_segments(tmp_path / "rows.csv"))
    assert str(tmp_path / "rows.csv") in str(caught.value) and says in str(caught.value)


def test_header_mark_and_line_ends_are_tolerated(tmp_path):
    (tmp_path / "rows.csv").write_bytes(
        b"\xef\xbb\xbfYouTube ID,start,end,X,Y\r\n-x_1,90.000000,95.5,0,1\r\n"
    )
    assert list(read_segments(tmp_path / "rows.csv")) == [Segment("-x_1", 90, 95.5, 0, 1)]
    (tmp_path / "rows.csv").write_text("-x_1,90.000000,95.5,0,1")
    assert list(read_segments(tmp_path / "rows.csv")) == [Segment("-x_1", 90, 95.5, 0, 1)]


def found_in(folder, names, segment, *patterns):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return VideoIndex(folder, *([patterns] if patterns else [])).find(segment)


@pytest.mark.parametrize(
    "name, patterns, start",
    [
        ("-x_1.mp4", (), 36.67),
        ("deep/er/-x_1.WEBM", (), 36.67),
        ("-x_1_36.669967_41.000000.mkv", (), 0),
        ("-x_1_36.67_41.0.mkv", (), 0),
        ("-x_1_36.66_41.mkv", (), 0),
        ("-x_1_37_41.mkv", (), 0),
        ("-x_1-36669-41000.mov", ("{id}-{start_ms}-{end_ms}",), 0),
        ("-x_1/36.7-41.0.mp4", ("{id}/{start}-{end}",), 0),
        ("whole/-x_1.mp4", ("whole/{id}",), 36.67),
    ],
)
def test_videos_are_found_by_their_names(tmp_path, name, patterns, start):
    segment = Segment("-x_1", 36.669967, 41, 0.5, 0.5)
    others = ["-x_1_50.00_60.00.mp4", "x_1.mp4", "-x_1.mp4.part", "-x_1.f137.mp4", "-x_1.wav", "-X_1.mp4"]
    assert found_in(tmp_path, others, segment, *patterns) is None
    assert found_in(tmp_path, [name], segment, *patterns) == (name, pytest.approx(start, abs=1e-3))


def test_of_several_cut_clips_the_nearest_is_taken(tmp_path):
    names = ["a_10.0_13.0.mp4", "a_10.1_13.1.mp4", "a_11_14.mp4"]
    assert found_in(tmp_path, names, Segment("a", 10.08, 13.08, 0, 0)) == ("a_10.1_13.1.mp4", 0)


def test_a_pattern_of_another_form_is_refused(tmp_path):
    for pattern in ("{start}_{end}", "{id}_{start}", "{id}_{start}_{end_ms}", "{id}{id}", "{id}_{}", "clip"):
        with pytest.raises(AvspeechError, match=r"expected \{id\} alone"):
            VideoIndex(tmp_path, [pattern])
