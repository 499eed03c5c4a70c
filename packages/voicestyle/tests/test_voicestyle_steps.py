"""The way to a picture: steps are shown, the result stays the same, and an error of the viewer ends it."""

import numpy as np
import pytest
from voiceface.audio.loading import write_wav
from voiceface.suite.plugins import GenerationStep, SteppingImageGenerator
from voiceface.synthetic.identities import sample_identities
from voiceface.synthetic.voice.speech_synthesis import synthesise_clip
from voicestyle import face_generator
from voicestyle.suite_plugin import LoadedSystem


@pytest.fixture(scope="module")
def system():
    """Bundled networks with few steps."""
    short = ["inversion.num_steps=6", "guidance.num_steps=6", "retrieval.max_images=2"]
    return LoadedSystem(face_generator.load(overrides=short), "bundled")


@pytest.fixture(scope="module")
def voice(tmp_path_factory):
    path = tmp_path_factory.mktemp("voice") / "a.wav"
    write_wav(path, synthesise_clip(sample_identities([120]), 0, 0, seconds=2.0).samples)
    return path


def test_steps_lead_to_the_same_picture(system, voice):
    steps: list[GenerationStep] = []
    assert isinstance(system, SteppingImageGenerator)
    shown = system.generate_in_steps([voice], steps.append)
    fractions = [step.fraction for step in steps]
    assert fractions[1:] == sorted(fractions[1:]) and 0.7 < fractions[-1] <= 1
    assert all(step.image is not None and step.image.shape == shown.shape for step in steps[1:])
    assert len({step.stage for step in steps}) >= 3
    assert np.array_equal(shown, system.generate_image([voice]))


def test_an_error_of_the_viewer_ends_the_work(system, voice):
    class Left(Exception):
        pass

    def leave(step: GenerationStep) -> None:
        raise Left

    with pytest.raises(Left):
        system.generate_in_steps([voice], leave)
