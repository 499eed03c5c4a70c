"""Collectors against plain state machines, frames, and what the detector refuses."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from voiceface.audio.loading import write_wav
from voiceface.audio.vad import (
    SpeechError,
    VoiceActivityDetector,
    collect_segments,
    collect_segments_requerying,
    join_segments,
    no_speech_error,
    read_samples,
    split_frames,
    to_int16_samples,
)


def plain_once(decisions, ring, share):
    """The collector of one decision a frame, as one would tell it: lists of frame numbers."""
    segments, current, recent, triggered = [], [], [], False
    for frame, voiced in enumerate(decisions):
        recent = [*recent, (frame, voiced)][-ring:]
        if not triggered:
            if sum(heard for _, heard in recent) > share * ring:
                triggered, current, recent = True, [number for number, _ in recent], []
        else:
            current.append(frame)
            if sum(not heard for _, heard in recent) > share * ring:
                segments.append(current)
                triggered, current, recent = False, [], []
    return [*segments, current] if current else segments


def lists_of(number):
    return [np.flatnonzero(number == k).tolist() for k in range(number.max(initial=-1) + 1)]


@settings(max_examples=80, deadline=None)
@given(st.lists(st.booleans(), max_size=60), st.integers(1, 6), st.sampled_from([0.4, 0.6, 0.9]))
def test_one_decision_a_frame_is_the_plain_state_machine(decisions, ring, share) -> None:
    assert lists_of(collect_segments(decisions, ring, share)) == plain_once(decisions, ring, share)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.booleans(), max_size=60), st.integers(1, 6))
def test_asking_again_changes_nothing_where_answers_do_not_change(decisions, ring) -> None:
    again = collect_segments_requerying(len(decisions), lambda i: decisions[i], ring)
    np.testing.assert_array_equal(collect_segments(decisions, ring), again)


def test_hand_worked_segments_of_a_ring_of_ten() -> None:
    decisions = [1] * 10 + [0] * 10 + [1] * 9 + [0] + [1] * 10 + [0] * 3
    # the first ten switch on, the tenth silent one off; nine are too few; then ten and all that follows
    assert lists_of(collect_segments(decisions)) == [list(range(20)), list(range(30, 43))]


def test_segments_are_joined_frames() -> None:
    frames = split_frames(np.arange(50, dtype=np.int16), 10)
    assert [part.tolist() for part in join_segments(frames, np.array([-1, 0, 0, 1]))] == [
        list(range(10, 30)),
        list(range(30, 40)),
    ]
    assert join_segments(frames, np.full(4, -1, np.int32)) == []
    assert join_segments([], np.full(0, -1, np.int32)) == []


def test_the_detector_takes_its_rates_only() -> None:
    assert VoiceActivityDetector(3, 8000)(bytes(2 * 80)) is False
    with pytest.raises(SpeechError, match=r"clip: .*8000, 16000, 32000 or 48000 Hz, found 44100"):
        VoiceActivityDetector(1, 44100, "clip")


def test_samples_are_int16_of_one_axis() -> None:
    for wrong in (np.zeros(3), np.zeros((1, 3), np.int16)):
        with pytest.raises(SpeechError, match=r"clip: expected int16"):
            to_int16_samples(wrong, "clip")
    text = str(no_speech_error(np.full(8000, 100, np.int16), 16000, "clip"))
    assert "clip: no voice found in 0.50 s at 16000 Hz (r.m.s. level 100" in text


def test_recordings_keep_their_rate_on_request_and_channels_are_chosen(tmp_path: Path) -> None:
    import soundfile

    left = np.random.default_rng(0).integers(-9000, 9000, 8000).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", np.stack([left, -left], 1), 8000)
    found, rate = read_samples(tmp_path / "a.wav", None, accepted_rates=(8000,))
    assert rate == 8000
    np.testing.assert_array_equal(found, left)
    assert not read_samples(tmp_path / "a.wav", None, accepted_rates=(8000,), channel="mean")[0].any()
    assert len(read_samples(tmp_path / "a.wav")[0]) == 16000
    with pytest.raises(SpeechError, match=r"a\.wav: sample rate 8000 Hz.*16000 or 48000"):
        read_samples(tmp_path / "a.wav", None, accepted_rates=(16000, 48000))
    write_wav(tmp_path / "b.wav", np.array([-32768, 32767, 0], np.int16))
    assert read_samples(tmp_path / "b.wav")[0].tolist() == [-32768, 32767, 0]
