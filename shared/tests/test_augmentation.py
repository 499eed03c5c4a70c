"""Random changes of training data: each item does what it says, samples are functions of seed and step."""

import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from voiceface.audio import augmentation as waveforms
from voiceface.audio.loading import write_wav
from voiceface.datasets.augmentation import FaceAugmentation, VoiceAugmentation, build_augmentation
from voiceface.datasets.augmentation_config import AugmentationConfig
from voiceface.datasets.view_sampling import ViewSampler
from voiceface.images import augmentation as images
from voiceface.images import transforms
from voiceface.runtime.config import ConfigError, validate_config
from voiceface.synthetic.dataset import PopulationDataset
from voiceface.training.sampling import batches

RATE = 16000
WITHOUT_TORCHAUDIO = {
    "voice": {"noise": {}, "codec": {"kinds": ["mp3"]}, "spec_augment": {}},
    "face": {"colour": {}, "blur": {}, "jpeg": {}, "erasing": {}},
}
EVERYTHING = {
    "voice": {"speed": {}, "reverberation": {}, "noise": {}, "codec": {}, "spec_augment": {}},
    "face": WITHOUT_TORCHAUDIO["face"],
}


def configure(**sections):
    """The section data.augmentation."""
    return validate_config(sections, AugmentationConfig)


def voice_item(name, **values):
    """The augmentation of voices with one item, which always applies."""
    return build_augmentation(configure(voice={name: {"probability": 1.0, **values}})).voice


def speech(seconds=2.0, seed=0):
    """Speech-like sound: a low harmonic tone in syllables, with some noise, 16-bit range."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * RATE)) / RATE
    tone = sum(np.sin(2 * np.pi * 140 * k * t) / k for k in range(1, 40))
    envelope = 0.6 + 0.4 * np.sin(2 * np.pi * 4 * t)
    return (3000 * tone * envelope + rng.normal(0, 50, len(t))).astype(np.float32)


def spectrum(wave, low, high):
    """Mean power between two frequencies, in dB."""
    power = np.abs(np.fft.rfft(wave * np.hanning(len(wave)))) ** 2
    frequency = np.fft.rfftfreq(len(wave), 1 / RATE)
    return 10 * np.log10(power[(frequency >= low) & (frequency < high)].mean() + 1e-9)


def delay(wave, reference, reach=200):
    """Samples by which a wave lags behind its reference."""
    middle = slice(reach, len(wave) - reach)
    scores = [wave[middle] @ np.roll(reference, shift)[middle] for shift in range(-reach, reach)]
    return int(np.argmax(scores)) - reach


# Items of voices


@pytest.mark.parametrize("snr", [-5.0, 0.0, 12.5, 40.0])
def test_noise_has_the_ratio_that_was_asked_for(snr):
    wave = speech()
    noise = (
        waveforms.add_noise(wave, waveforms.coloured_noise(len(wave), 1.0, np.random.default_rng(0)), snr)
        - wave
    )
    measured = 10 * np.log10(np.mean(wave.astype(np.float64) ** 2) / np.mean(noise.astype(np.float64) ** 2))
    assert measured == pytest.approx(snr, abs=0.01)


def test_sampled_ratios_fill_their_range():
    item, wave = voice_item("noise", snr_db=[3.0, 9.0]), speech(0.5)
    found = []
    for seed in range(60):
        noise = item.apply(wave, np.random.default_rng(seed)) - wave
        found.append(10 * np.log10(np.mean(wave**2) / np.mean(noise**2)))
    assert 2.9 < min(found) < 3.6 and 8.4 < max(found) < 9.1


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_coloured_noise_falls_as_its_exponent_says(exponent):
    noise = waveforms.coloured_noise(4 * RATE, exponent, np.random.default_rng(1))
    slope = (spectrum(noise, 4000, 4400) - spectrum(noise, 400, 440)) / 10  # per decade, in units of 10 dB
    assert slope == pytest.approx(-exponent, abs=0.15)
    assert np.mean(noise**2) == pytest.approx(1, abs=1e-3)
    assert noise.mean() == pytest.approx(0, abs=1e-5)


def test_noise_of_a_folder_is_that_of_its_files(tmp_path: Path):
    hum = (1000 * np.sin(2 * np.pi * 50 * np.arange(8000) / 8000)).astype(np.int16)
    soundfile.write(tmp_path / "hum.wav", hum, 8000)  # another rate, shorter than the clip
    wave = speech()
    added = (
        voice_item("noise", folder=str(tmp_path), snr_db=[0.0, 0.0]).apply(wave, np.random.default_rng(0))
        - wave
    )
    assert spectrum(added, 40, 60) > spectrum(added, 200, 4000) + 40


def test_silence_gets_no_noise():
    silence = np.zeros(1000, np.float32)
    assert not waveforms.add_noise(silence, np.ones(1000, np.float32), 0.0).any()
    assert not waveforms.add_noise(silence + 1, silence, 0.0).std()


def test_synthetic_reverberation_decays_and_has_its_ratio():
    response = waveforms.synthetic_impulse_response(0.5, 6.0, np.random.default_rng(0))
    assert response[0] == 1 and len(response) == RATE // 2
    assert 10 * np.log10(1 / np.sum(response[1:] ** 2)) == pytest.approx(6, abs=1e-3)
    early, late = (np.mean(response[first : first + 800] ** 2) for first in (800, 4800))
    assert 10 * np.log10(early / late) == pytest.approx(60 * 4000 / 8000, abs=2)  # 0.25 of 0.5 s


def test_reverberation_keeps_level_and_place():
    pytest.importorskip("torchaudio")
    wave = speech()
    response = np.zeros(400, np.float32)
    response[100] = -0.5  # a pure delay is no reverberation: taken out, sign kept
    assert np.allclose(waveforms.reverberate(wave, response), -wave, atol=0.5)
    wet = waveforms.reverberate(
        wave, waveforms.synthetic_impulse_response(0.4, 0.0, np.random.default_rng(0))
    )
    assert wet.shape == wave.shape and wet.dtype == np.float32
    assert np.mean(wet**2) == pytest.approx(np.mean(wave**2), rel=1e-4)
    assert delay(wet, wave) == 0
    direct = np.convolve(wave, [1, 0.5])[: len(wave)]
    found = waveforms.reverberate(wave, np.array([1, 0.5], np.float32))
    assert np.allclose(found, direct * np.sqrt(np.mean(wave**2) / np.mean(direct**2)), atol=0.5)
    assert waveforms.reverberate(wave, np.zeros(5, np.float32)) is wave


@pytest.mark.parametrize("percent", [90, 97, 103, 110])
def test_speed_changes_length_and_pitch_by_one_factor(percent):
    pytest.importorskip("torchaudio")
    tone = (8000 * np.sin(2 * np.pi * 500 * np.arange(2 * RATE) / RATE)).astype(np.float32)
    faster = waveforms.change_speed(tone, percent)
    assert len(faster) == pytest.approx(len(tone) * 100 / percent, abs=1)
    peak = np.fft.rfftfreq(len(faster), 1 / RATE)[np.abs(np.fft.rfft(faster)).argmax()]
    assert peak == pytest.approx(500 * percent / 100, abs=1)
    assert waveforms.change_speed(tone, 100) is tone


def test_a_faster_clip_is_repeated_to_its_length():
    pytest.importorskip("torchaudio")
    wave = speech()
    faster = voice_item("speed", factor=[1.1, 1.1]).apply(wave, np.random.default_rng(0))
    once = waveforms.change_speed(wave, 110)
    assert np.array_equal(faster, np.concatenate([once, once])[: len(wave)])


def test_telephone_speech_is_band_limited():
    pytest.importorskip("torchaudio")
    noise = (waveforms.coloured_noise(4 * RATE, 0.0, np.random.default_rng(0)) * 3000).astype(np.float32)
    heard = waveforms.telephone_codec(noise)
    assert heard.shape == noise.shape and heard.dtype == np.float32
    inside = spectrum(heard, 500, 3000)
    assert inside == pytest.approx(spectrum(noise, 500, 3000), abs=1.5)
    assert spectrum(heard, 5000, 8000) < inside - 30
    assert spectrum(heard, 0, 100) < inside - 25
    assert abs(delay(heard, noise)) <= 2
    assert np.abs(waveforms.telephone_codec(20 * speech())).max() < 1.1 * 32768, "louder sound is clipped"


@pytest.mark.parametrize("kbps", [8, 32, 160])
def test_mp3_is_aligned_and_loses_more_at_low_rates(kbps):
    wave = speech()
    coded = waveforms.mp3_codec(wave, kbps)
    assert coded.shape == wave.shape and coded.dtype == np.float32 and delay(coded, wave) == 0
    error = 10 * np.log10(np.mean(wave**2) / np.mean((coded - wave) ** 2))
    low, high = {8: (5, 30), 32: (15, 60), 160: (20, 90)}[kbps]
    assert low < error < high
    noise = (waveforms.coloured_noise(2 * RATE, 0.0, np.random.default_rng(0)) * 3000).astype(np.float32)
    if kbps == 8:
        assert spectrum(waveforms.mp3_codec(noise, 8), 6000, 8000) < spectrum(noise, 6000, 8000) - 20


def test_masks_cover_what_they_say():
    bands = torch.randn(2, 40, 100, generator=torch.Generator().manual_seed(0))
    rectangles = torch.tensor([[[0.25, 0.5, 0, 1], [0, 1, 0.1, 0.2]], [[0, 0, 0, 0], [0, 0, 0, 0]]])
    masked = waveforms.mask_spectrogram(bands, rectangles)
    expected = bands[0].clone()
    expected[10:20] = expected[:, 10:20] = bands[0].mean()
    assert torch.equal(masked[0], expected)
    assert torch.equal(masked[1], bands[1])


def test_sampled_masks_stay_within_their_widths():
    item = voice_item(
        "spec_augment", frequency_masks=2, frequency_width=[0.1, 0.3], time_masks=1, time_width=[0.2, 0.2]
    )
    rows = np.stack([item.sample_masks(np.random.default_rng(seed)) for seed in range(50)])
    assert rows.shape == (50, 3, 4) and rows.min() >= 0 and rows.max() <= 1
    widths = rows[:, :2, 1] - rows[:, :2, 0]
    assert 0.1 - 1e-6 <= widths.min() < 0.13 and 0.27 < widths.max() <= 0.3 + 1e-6
    assert np.allclose(rows[:, 2, 3] - rows[:, 2, 2], 0.2, atol=1e-6)
    assert (rows[:, :2, 2:] == [0, 1]).all() and (rows[:, 2, :2] == [0, 1]).all()


# Items of faces


def face(side=32, seed=0):
    """A smooth colour image, (3, S, S) uint8 RGB."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / side
    return np.stack([255 * x, 255 * y, 120 + 60 * np.sin(6 * x)]).clip(0, 255).astype(np.uint8) // 2 + (
        rng.integers(0, 8, (3, side, side)).astype(np.uint8)
    )


def test_colours_change_as_their_factors_say():
    image = face()
    assert np.array_equal(images.adjust_colours(image), image)
    assert images.adjust_colours(image, brightness=0.5).mean() == pytest.approx(image.mean() / 2, abs=1)
    assert images.adjust_colours(image, contrast=0.5).std() == pytest.approx(image.std() / 2, rel=0.15)
    grey = images.adjust_colours(image, saturation=0.0)
    assert (grey[:1] == grey).all()
    assert np.array_equal(
        images.adjust_colours(image, hue=0.5).argmax(0), images.adjust_colours(image, hue=-0.5).argmax(0)
    )


def test_blur_removes_detail_and_keeps_the_mean():
    image = np.random.default_rng(0).integers(0, 256, (3, 32, 32)).astype(np.uint8)
    spreads = [images.blur(image, sigma).std() for sigma in (0.1, 0.6, 1.5, 40.0)]
    assert spreads == sorted(spreads, reverse=True) and spreads[-1] < 15
    assert images.blur(image, 1.5).mean() == pytest.approx(image.mean(), abs=2)
    assert np.array_equal(images.blur(image, 0.1), image)


def test_jpeg_loses_more_at_low_quality():
    image = face()
    errors = [
        np.abs(images.compress_jpeg(image, quality).astype(int) - image).mean() for quality in (5, 50, 95)
    ]
    assert errors[0] > errors[1] > errors[2] > 0


@pytest.mark.parametrize("area, ratio", [(0.1, 1.0), (0.2, 2.0), (0.02, 0.3)])
def test_an_erased_rectangle_has_its_area_shape_and_place(area, ratio):
    image = np.zeros((3, 100, 100), np.uint8)
    for position, corner in (((0.0, 0.0), (0, 0)), ((0.999, 0.999), (99, 99))):
        erased = images.erase_rectangle(image, area, ratio, position) == 127
        assert (erased[0] == erased).all() and erased[0][corner]
        high, wide = erased[0].any(1).sum(), erased[0].any(0).sum()
        assert erased[0].mean() == pytest.approx(area, rel=0.06)
        assert high / wide == pytest.approx(ratio, rel=0.1)
    assert not image.any(), "the input is left alone"
    assert images.erase_rectangle(image, 1.0, 20.0, (0.5, 0.5)).shape == image.shape


def test_faces_are_changed_in_rgb_whatever_their_order():
    item = build_augmentation(configure(face={"colour": {"probability": 1.0, "hue": [0.1, 0.1]}})).face
    assert isinstance(item, FaceAugmentation)
    planes = face().astype(np.float32)
    params = item.sample(np.random.default_rng(0))
    rgb, bgr = item.apply(planes, params, "rgb"), item.apply(planes[::-1], params)
    assert np.array_equal(rgb, bgr[::-1]) and rgb.dtype == np.float32
    assert not np.array_equal(rgb, planes)
    assert item.apply(planes, {}) is planes


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_items_apply_with_their_probability(probability):
    item = build_augmentation(configure(face={"blur": {"probability": probability}})).face
    share = np.mean([bool(item.sample(np.random.default_rng(seed))) for seed in range(300)])
    assert share == pytest.approx(probability, abs=0.08)


# Samples


@pytest.fixture(scope="module")
def population():
    """A data set in memory, built anew with an augmentation or without."""
    base = PopulationDataset("tiny", "train", workers=1, progress=False, colour_jitter=0.1, num_views=2)

    def with_augmentation(augmentation):
        base.view_sampler = ViewSampler(
            base.image_size, colour_jitter=0.1, num_views=2, augmentation=augmentation
        )
        return base

    return with_augmentation


def all_batches(dataset, **options):
    return list(batches(dataset, 4, seed=3, max_steps=4, **options))


def equal(left, right):
    return all(torch.equal(a[key], b[key]) for a, b in zip(left, right, strict=True) for key in a | b)


def test_off_is_what_it_was_before():
    assert build_augmentation(None) is None
    assert build_augmentation(configure()) is None
    assert build_augmentation(configure(voice={}, face={})) is None
    clip, image = np.arange(4, dtype=np.float32), face().transpose(1, 2, 0).copy()
    rng, by_hand = np.random.default_rng(5), np.random.default_rng(5)
    sampler = ViewSampler(32, colour_jitter=0.1, num_views=2, pair_augmentation="independent")
    found = sampler.sample(3, 3, lambda _: image, lambda _: clip, rng)
    assert found["voice"] is clip and set(found) == {"face", "voice", "face_second", "voice_second"}
    for name, (images_left, clips_left) in (("face", (3, 3)), ("face_second", (2, 2))):
        by_hand.integers(images_left), by_hand.integers(clips_left)
        view = transforms.apply_augmentation(image, 32, transforms.sample_augmentation(by_hand))
        assert np.array_equal(found[name], transforms.apply_colour_jitter(view, by_hand.normal(0, 0.1, 4)))
    assert rng.bit_generator.state == by_hand.bit_generator.state
    assert rng.bit_generator.seed_seq.n_children_spawned == 0


@pytest.mark.parametrize("needs", ["nothing", "torchaudio"])
def test_batches_do_not_depend_on_workers_or_on_where_a_run_began(population, needs):
    if needs == "torchaudio":
        pytest.importorskip("torchaudio")
    config = configure(**(EVERYTHING if needs == "torchaudio" else WITHOUT_TORCHAUDIO))
    dataset = population(build_augmentation(config))
    whole = all_batches(dataset)
    assert whole[0]["voice_masks"].shape == (4, 2, 4) and "voice_masks_second" in whole[0]
    threads = torch.get_num_threads()
    torch.set_num_threads(2)  # workers have one
    try:
        assert equal(whole, all_batches(dataset))
    finally:
        torch.set_num_threads(threads)
    assert equal(whole, all_batches(dataset, num_workers=2))
    assert equal(whole[2:], all_batches(dataset, start_step=2))
    other = list(batches(dataset, 4, seed=4, max_steps=4))
    assert not equal(whole, other)


def test_files_and_views_are_the_same_with_and_without(population):
    """Each modality is changed by itself; the other one stays bit-equal."""
    plain = all_batches(population(None))
    voices = all_batches(population(build_augmentation(configure(voice={"noise": {"probability": 1.0}}))))
    faces = all_batches(population(build_augmentation(configure(face={"erasing": {"probability": 1.0}}))))
    for before, voice, picture in zip(plain, voices, faces):
        assert torch.equal(before["face"], voice["face"]) and torch.equal(before["voice"], picture["voice"])
        assert not torch.equal(before["voice"], voice["voice"])
        assert not torch.equal(before["voice_second"], voice["voice_second"])
        assert not torch.equal(before["face"], picture["face"])


def test_without_training_transforms_nothing_is_changed():
    clip, image = speech(0.2), face().transpose(1, 2, 0).copy()
    augmentation = build_augmentation(configure(voice={"noise": {"probability": 1.0}}, face={"blur": {}}))
    sampler = ViewSampler(32, augment=False, augmentation=augmentation)
    found = sampler.sample(1, 1, lambda _: image, lambda _: clip, np.random.default_rng(0))
    assert found["voice"] is clip and np.array_equal(found["face"], image.transpose(2, 0, 1))


# Configuration and errors


@pytest.mark.parametrize(
    "sections, text",
    [
        ({"voice": {"noise": {"snr_db": [10.0, 5.0]}}}, "voice.noise.snr_db"),
        ({"voice": {"noise": {"snr_db": [0.0, 500.0]}}}, "-30...80"),
        ({"voice": {"noise": {"probability": 1.5}}}, "voice.noise.probability"),
        ({"voice": {"speed": {"factor": [0.0, 1.0]}}}, "0.5...2"),
        ({"voice": {"reverberation": {"decay_seconds": [0.0, 1.0]}}}, "decay_seconds"),
        ({"voice": {"codec": {"kinds": []}}}, "kinds"),
        ({"voice": {"codec": {"kinds": ["mp3", "mp3"]}}}, "kinds"),
        ({"voice": {"codec": {"kinds": ["opus"]}}}, "kinds"),
        ({"voice": {"codec": {"mp3_kbps": [20]}}}, "mp3_kbps"),
        ({"voice": {"spec_augment": {"time_masks": -1}}}, "time_masks"),
        ({"voice": {"spec_augment": {"time_width": [0.0, 1.2]}}}, "time_width"),
        ({"voice": {"echo": {}}}, "echo: unknown key"),
        ({"face": {"jpeg": {"quality": [0, 50]}}}, "1...100"),
        ({"face": {"colour": {"hue": [-0.6, 0.0]}}}, "-0.5...0.5"),
        ({"face": {"erasing": {"area": [0.5, 1.5]}}}, "erasing.area"),
        ({"face": {"blur": {"sigma": [0.0, 1.0]}}}, "blur.sigma"),
    ],
)
def test_values_out_of_range_are_refused_when_the_configuration_is_read(sections, text):
    with pytest.raises(ConfigError) as error:
        configure(**sections)
    assert text in str(error.value)


@pytest.mark.parametrize("item", ["noise", "reverberation"])
@pytest.mark.parametrize("kind", ["missing", "empty"])
def test_folders_without_recordings_are_named(tmp_path: Path, monkeypatch, item, kind):
    monkeypatch.setattr(waveforms, "require_torchaudio", lambda key: None)
    folder = tmp_path / kind
    if kind == "empty":
        folder.mkdir()
        (folder / "features.npy").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=f"data.augmentation.voice.{item}.folder .*{kind}"):
        build_augmentation(configure(voice={item: {"folder": str(folder)}}))


@pytest.mark.parametrize("item", ["speed", "reverberation", "codec"])
def test_without_torchaudio_one_sentence_says_how_to_get_it(monkeypatch, item):
    monkeypatch.setitem(sys.modules, "torchaudio", None)
    monkeypatch.setattr(waveforms, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError) as error:
        build_augmentation(configure(voice={item: {}}))
    text = str(error.value)
    assert f"data.augmentation.voice.{item} needs torchaudio" in text and "pip install" in text
    assert "\n" not in text
    build_augmentation(configure(**WITHOUT_TORCHAUDIO)).voice.apply(speech(0.2), np.random.default_rng(0))


def test_recordings_of_a_folder_are_found_at_any_depth(tmp_path: Path):
    (tmp_path / "street").mkdir()
    write_wav(tmp_path / "street" / "b.wav", np.ones(100, np.int16))
    write_wav(tmp_path / "a.wav", np.ones(100, np.int16))
    item = voice_item("noise", folder=str(tmp_path))
    assert isinstance(item, VoiceAugmentation)
    assert [Path(name).name for name in item.noise_files] == ["a.wav", "b.wav"]
