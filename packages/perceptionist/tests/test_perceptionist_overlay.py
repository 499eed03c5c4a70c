"""Meshes over photographs: where they are drawn, stored coefficients, the expert, the command."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from perceptionist.__main__ import main
from perceptionist.dataset.records import FaceImages
from perceptionist.face_models.linear import FaceModelError, FaceParameters, LinearFaceModel
from perceptionist.face_models.pose import split_pose
from perceptionist.face_models.synthetic_head import (
    build_synthetic_face_model,
    expression_coefficients,
    orthonormal_shape,
    pose_parameters,
)
from perceptionist.image_expert import CropBox, ImageExpert, load_image_expert
from perceptionist.image_overlay import (
    draw_overlay,
    fit_image,
    overlay_photograph,
    place_mesh,
    read_coefficients,
)
from perceptionist.overlay import ImageFile, find_coefficient_file, find_image_files
from perceptionist.sampling import ImageRegressionDataset, image_to_chw, reframe
from perceptionist.sim3dr import rasterize_triangles
from perceptionist.training_stages.expert import pose_whitening, project_landmarks
from PIL import Image
from voiceface.synthetic.camera import RenderedImage, sample_render_params
from voiceface.synthetic.head.render import render_image
from voiceface.synthetic.head.shape_space import shape_coefficients
from voiceface.synthetic.identities import sample_identities

MODEL = build_synthetic_face_model()
IDENTITIES = sample_identities([200, 201, 202])  # of the test split, which no bundled weights have seen


def picture_of(index: int, side: int = 120) -> tuple[RenderedImage, FaceParameters]:
    """A picture of the population and its true parameters."""
    picture = render_image(IDENTITIES, index, 0, image_size=side)
    view = sample_render_params(IDENTITIES, index, 0)
    parts = (
        pose_parameters(view, shape_coefficients(IDENTITIES)[index])[None],
        orthonormal_shape(IDENTITIES)[index : index + 1],
        expression_coefficients(view.expression[None]),
    )
    return picture, FaceParameters(*map(torch.from_numpy, parts))


def vector(parameters: FaceParameters) -> np.ndarray:
    return torch.cat([parameters.pose, parameters.shape, parameters.expression], 1)[0].numpy()


def moved(parameters: FaceParameters, x: float, y: float) -> FaceParameters:
    """The same face, moved to the right and downwards by pixels of the 120-pixel image."""
    pose = parameters.pose.clone()
    pose[:, 3] += x
    pose[:, 7] -= y
    return FaceParameters(pose, parameters.shape, parameters.expression)


def renamed(name: str) -> LinearFaceModel:
    """The head under another name, so that coefficients of BFM-2009 are accepted for it."""
    return LinearFaceModel(
        name,
        MODEL.mean.numpy(),
        MODEL.shape_basis.numpy(),
        MODEL.expression_basis.numpy(),
        MODEL.triangles,
        MODEL.landmarks,
        pairs=MODEL.pairs,
        parameter_mean=MODEL.parameter_mean.numpy(),
        parameter_std=MODEL.parameter_std.numpy(),
    )


@pytest.fixture(scope="module")
def expert() -> ImageExpert:
    return load_image_expert(None, MODEL)


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
def test_the_photograph_is_unchanged_outside_of_the_mesh(alpha: float) -> None:
    picture, parameters = picture_of(0)
    before = picture.image.copy()
    result = overlay_photograph(picture.image, MODEL, parameters, alpha=alpha)
    assert np.array_equal(picture.image, before), "the input is not modified"
    covered = rasterize_triangles(result.vertices, MODEL.triangles, 120, 120).triangles >= 0
    assert 0.25 < covered.mean() < 0.75
    assert np.array_equal(result.image[~covered], before[~covered])
    assert (result.image == before).all() == (alpha == 0)
    x, y = np.rint(picture.landmarks[17:]).astype(int).T  # brows, nose, eyes, mouth
    assert covered[y, x].all(), "the mesh is on the face"


def test_translated_coefficients_translate_the_overlay() -> None:
    grey = np.full((120, 120, 3), 90, np.uint8)
    _, parameters = picture_of(1)
    dx, dy = 9, 5
    first = overlay_photograph(grey, MODEL, parameters, alpha=1).image.astype(int)
    second = overlay_photograph(grey, MODEL, moved(parameters, dx, dy), alpha=1).image.astype(int)
    a, b = first[: 120 - dy, : 120 - dx], second[dy:, dx:]
    assert (np.abs(a - b).max(axis=2) > 1).mean() < 2e-3, "equal but for the rounding of edges"
    assert (np.abs(first - second) > 1).any(axis=2).mean() > 0.1


def test_the_box_moves_and_scales_the_overlay() -> None:
    picture, parameters = picture_of(2)
    alone = overlay_photograph(picture.image, MODEL, parameters).image
    canvas = np.full((200, 260, 3), 40, np.uint8)
    canvas[30:150, 100:220] = picture.image
    result = overlay_photograph(canvas, MODEL, parameters, box=CropBox(100, 30, 120))
    inner = result.image[30:150, 100:220]
    assert (np.abs(inner.astype(int) - alone).max(axis=2) > 1).mean() < 2e-3
    large = overlay_photograph(np.kron(picture.image, np.ones((3, 3, 1), np.uint8)), MODEL, parameters)
    small = overlay_photograph(picture.image, MODEL, parameters)
    np.testing.assert_allclose(large.vertices[:, :2], 3 * small.vertices[:, :2] + 1, atol=1e-3)
    np.testing.assert_allclose(large.vertices[:, 2], 3 * small.vertices[:, 2], atol=1e-3)


def test_boxes_cut_the_image_and_fill_what_lies_outside() -> None:
    image = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3) + 1
    assert CropBox.centred(5, 7) == CropBox(1, 0, 5) and CropBox.centred(4, 4) == CropBox(0, 0, 4)
    assert np.array_equal(CropBox(1, 0, 5).crop(image), image[:, 1:6])
    outside = CropBox(-1, 3, 4).crop(image)
    assert np.array_equal(outside[:2, 1:], image[3:5, :3])
    assert not outside[2:].any() and not outside[:, 0].any()
    with pytest.raises(ValueError, match="outside of the image"):
        CropBox(7, 0, 3).crop(image)
    with pytest.raises(ValueError, match="side above 0"):
        CropBox(0, 0, 0)


def test_the_bundled_expert_lays_the_mesh_on_unseen_faces(expert: ImageExpert) -> None:
    for index in range(3):
        picture, _ = picture_of(index, 128)
        result = overlay_photograph(picture.image, MODEL, expert=expert)
        marks = result.vertices[MODEL.landmarks, :2]
        assert np.linalg.norm(marks - picture.landmarks, axis=1).mean() < 4.0, "pixels of 128"
    assert "nothing about real people" in expert.disclaimer


def test_the_expert_follows_a_face_that_moves_in_the_image(expert: ImageExpert) -> None:
    moves = []
    for index in range(3):
        wide = np.pad(picture_of(index)[0].image, ((12, 12), (12, 12), (0, 0)), mode="edge")
        for step in (-8, 8):
            before, after = (fit_image(wide, expert, CropBox(left, 12, 120)) for left in (12, 12 - step))
            moves.append(float(after.pose[0, 3] - before.pose[0, 3]) / step)
    assert np.mean(moves) == pytest.approx(1, abs=0.25)


@pytest.mark.parametrize(("shift", "zoom"), [((0.1, -0.05), 1.2), ((0, 0), 0.8), ((-0.1, 0), 1)])
def test_reframed_images_and_targets_agree(shift: tuple[float, float], zoom: float) -> None:
    picture, parameters = picture_of(1)
    whitening = pose_whitening(MODEL)
    target = MODEL.whiten(parameters)[0].numpy()
    image, moved_target = reframe(image_to_chw(picture.image, 120), target, np.array(shift), zoom, whitening)
    before, after = (
        project_landmarks(MODEL, torch.from_numpy(each)[None])[0, :2].numpy()
        for each in (target, moved_target)
    )
    np.testing.assert_allclose(
        after, zoom * (before - 59.5) + 59.5 + 120 * np.array(shift)[:, None], atol=1e-3
    )
    assert np.array_equal(moved_target[12:], target[12:])
    # The pixel at the old centre has moved with the landmarks.
    x, y = np.rint(59.5 + 120 * np.array(shift)).astype(int)
    np.testing.assert_allclose(
        image[:, y - 1 : y + 2, x - 1 : x + 2].mean((1, 2)),
        image_to_chw(picture.image, 120)[:, 58:62, 58:62].mean((1, 2)),
        atol=0.1,
    )
    same, unchanged = reframe(image, target, np.zeros(2), 1.0, whitening)
    np.testing.assert_allclose(same, image, atol=1e-6)
    np.testing.assert_allclose(unchanged, target, atol=1e-4)


def test_training_images_are_shifted_only_with_their_pose() -> None:
    images = FaceImages(np.zeros(1, np.int64), [picture_of(0)[0].image])
    targets = MODEL.whiten(picture_of(0)[1]).numpy()
    with pytest.raises(ValueError, match="pose_whitening"):
        ImageRegressionDataset(images, targets, 32, max_shift=0.1)
    still = ImageRegressionDataset(images, targets, 32).sample(0, np.random.default_rng(0))
    assert np.array_equal(still["target"], targets[0])
    options = {"max_shift": 0.1, "max_zoom": 0.2, "pose_whitening": pose_whitening(MODEL)}
    dataset = ImageRegressionDataset(images, targets, 32, **options)
    samples = [dataset.sample(0, np.random.default_rng(seed)) for seed in range(20)]
    poses = MODEL.unwhiten(torch.from_numpy(np.stack([each["target"] for each in samples]))).pose
    scales = split_pose(poses).scale / split_pose(picture_of(0)[1].pose).scale
    assert 1 / 1.2 - 1e-3 <= scales.min() < 0.95 and 1.05 < scales.max() <= 1.2 + 1e-3
    assert all(np.array_equal(each["target"][12:], targets[0, 12:]) for each in samples)


def test_both_input_conventions_of_experts_differ_as_stated(expert: ImageExpert) -> None:
    from dataclasses import replace

    image = picture_of(0)[0].image
    published = replace(expert, published_input=True)
    swapped = expert.predict([image[..., ::-1].copy()])
    assert not torch.allclose(published.predict([image]), expert.predict([image]), atol=1e-2)
    torch.testing.assert_close(published.predict([image]), swapped, atol=0.05, rtol=0.05)  # 127.5 against 128


def test_stored_coefficients_of_every_form(tmp_path: Path, expert: ImageExpert) -> None:
    _, parameters = picture_of(0)
    stored = vector(parameters)
    np.save(tmp_path / "62.npy", stored)
    np.save(tmp_path / "102.npy", np.concatenate([stored, np.full(40, 9.0)]).reshape(1, -1))
    np.save(tmp_path / "white.npy", MODEL.whiten(parameters)[0].numpy())
    for name, whitened in (("62", False), ("102", False), ("white", True)):
        found = read_coefficients(tmp_path / f"{name}.npy", MODEL, whitened=whitened)
        np.testing.assert_allclose(vector(found), stored, rtol=2e-4, atol=2e-4)
    fitted = np.random.default_rng(0).normal(size=228)
    np.save(tmp_path / "228.npy", fitted)
    other = renamed("other")
    found = read_coefficients(tmp_path / "228.npy", other)
    assert found.pose.shape == (1, 0)
    np.testing.assert_allclose(found.shape[0], fitted[:40], rtol=1e-6)
    np.testing.assert_allclose(found.expression[0], fitted[199:209], rtol=1e-6)
    picture, _ = picture_of(0)
    result = overlay_photograph(picture.image, other, found, expert)
    assert torch.equal(result.parameters.shape, found.shape)
    assert torch.equal(result.parameters.pose, fit_image(picture.image, expert).pose)
    with pytest.raises(ValueError, match="no pose"):
        overlay_photograph(picture.image, other, found)
    with pytest.raises(FaceModelError, match="pass that of the coefficients"):
        read_coefficients(tmp_path / "228.npy", MODEL)


class Trap:
    """Unpickling it would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def test_invalid_coefficients_are_refused_and_no_code_runs(tmp_path: Path) -> None:
    for values, message in (
        (np.zeros(61), r"shape \(61,\), expected 62 or 102 numbers"),
        (np.full(62, np.nan), "not finite"),
        (np.zeros(62), "scale 0"),
        (np.array(["a"] * 62), "finite numbers"),
    ):
        np.save(tmp_path / "bad.npy", values)
        with pytest.raises(FaceModelError, match=message):
            read_coefficients(tmp_path / "bad.npy", MODEL)
    with (tmp_path / "trap.npy").open("wb") as file:
        header = {"descr": "|O", "fortran_order": False, "shape": (1,)}
        np.lib.format.write_array_header_1_0(file, header)
        pickle.dump(Trap(tmp_path / "ran"), file)
    with pytest.raises(ValueError, match=r"trap\.npy"):
        read_coefficients(tmp_path / "trap.npy", MODEL)
    assert not (tmp_path / "ran").exists()


def test_a_mesh_outside_of_the_image_is_an_error_with_a_remedy() -> None:
    _, parameters = picture_of(0)
    grey = np.zeros((120, 120, 3), np.uint8)
    with pytest.raises(ValueError, match="--whitened"):
        overlay_photograph(grey, MODEL, moved(parameters, 500, 0))


def test_the_pose_need_not_be_a_rotation() -> None:
    _, parameters = picture_of(0)
    pose = parameters.pose.clone()
    pose[:, 8:11] *= 3  # only depth changes
    stretched = place_mesh(MODEL, FaceParameters(pose, parameters.shape, parameters.expression))
    torch.testing.assert_close(stretched[:2], place_mesh(MODEL, parameters)[:2])
    _, points = draw_overlay(np.zeros((60, 60, 3), np.uint8), stretched, MODEL, CropBox(0, 0, 60))
    assert points.dtype == np.float32 and points.flags.c_contiguous


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Pictures of two people, one of them with an overlay already, and coefficients beside them."""
    root = tmp_path / "album"
    for index, name in enumerate(("Ann_A", "Bob_B")):
        picture, parameters = picture_of(index)
        (root / name).mkdir(parents=True)
        Image.fromarray(picture.image).save(root / name / f"{index}.png")
        np.save(root / name / "fit.npy", vector(parameters))
    Image.fromarray(picture.image).save(root / "Bob_B" / "1_b.jpg")
    return root


def test_the_command_writes_overlays_and_reads_its_own_coefficients(
    album: Path, tmp_path: Path, capsys
) -> None:
    words = ["overlay", str(album), "--format", "png"]
    first, second = tmp_path / "first", tmp_path / "second"
    assert main([*words, "--out", str(first), "--save-coefficients"]) == 0
    output = capsys.readouterr()
    assert "2 overlays" in output.out and "nothing about real people" in output.err
    names = sorted(path.relative_to(first).as_posix() for path in first.rglob("*.*"))
    assert names == ["Ann_A/0.npy", "Ann_A/0_b.png", "Bob_B/1.npy", "Bob_B/1_b.png"]
    assert main([*words, "--out", str(second), "--coefficients", str(first)]) == 0
    for name in ("Ann_A/0_b.png", "Bob_B/1_b.png"):
        a, b = (np.asarray(Image.open(folder / name)).astype(int) for folder in (first, second))
        assert (np.abs(a - b).max(axis=2) > 1).mean() < 2e-3
    low = tmp_path / "low"
    assert main([*words, "--out", str(low), "--coefficients", str(first), "--published"]) == 0
    a, b = (
        np.asarray(Image.open(folder / "Ann_A/0_b.png")) != np.asarray(Image.open(album / "Ann_A/0.png"))
        for folder in (second, low)
    )
    tops = [int(np.flatnonzero(mask.any(axis=(1, 2)))[-1]) for mask in (a, b)]
    assert tops[1] >= tops[0]


def test_coefficients_in_the_folder_of_the_identity_are_found(album: Path, tmp_path: Path) -> None:
    words = ["overlay", str(album), "--coefficients", str(album), "--out", str(album)]
    assert main(words) == 0
    assert (album / "Ann_A" / "0_b.jpg").is_file() and (album / "Bob_B" / "1_b.jpg").is_file()
    with Image.open(album / "Ann_A" / "0_b.jpg") as image:
        assert image.format == "JPEG" and image.size == (120, 120)
    files = find_image_files([album])
    assert [file.relative_path.as_posix() for file in files] == ["Ann_A/0", "Bob_B/1"]
    assert find_coefficient_file(album, files[0]) == album / "Ann_A" / "fit.npy"
    np.save(album / "Ann_A" / "other.npy", np.zeros(62))
    with pytest.raises(FileNotFoundError, match=r"no coefficients at .*0\.npy"):
        find_coefficient_file(album, files[0])
    assert find_coefficient_file(album / "x.npy", ImageFile(album, Path("y"))) == album / "x.npy"


def test_images_that_cannot_be_used_are_skipped_and_named(album: Path, tmp_path: Path, capsys) -> None:
    (album / "Bob_B" / "1.png").write_bytes(b"no image")
    out = tmp_path / "out"
    assert main(["overlay", str(album), "--out", str(out)]) == 0
    output = capsys.readouterr()
    assert "1 overlays" in output.out and output.err.count("1.png") == 1
    assert main(["overlay", str(album), "--out", str(out), "--strict"]) == 1
    assert "error: --strict: 1 file was left out" in capsys.readouterr().err
    assert [path.name for path in out.rglob("*.*")] == ["0_b.jpg"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["absent"], "no file or folder at absent"),
        (["{album}/Ann_A/fit.npy"], "expected an image"),
        (["{album}", "--alpha", "2"], "--alpha is 2"),
        (["{album}", "--whitened"], "pass them as --coefficients"),
        (["{album}", "--coefficients", "absent"], "--coefficients: nothing at absent"),
        (["{album}", "--expert", "absent"], "--expert: nothing at absent"),
        (["{album}", "--coefficients", "{album}/Ann_A/fit.npy"], "one file and there are 2 images"),
        (["{album}/Ann_A/0.png", "{album}/copy/0.png"], "both be written"),
        (["{album}", "--box", "0", "0", "-3"], "side above 0"),
        (["{album}", "--expert", "{supervised}"], "contains no expert"),
        (["{album}/Ann_A/0.png", "--box", "900", "0", "50"], "None of the images"),
    ],
)
def test_invalid_command_lines_of_overlay_end_in_one_line(
    words: list[str], message: str, album: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    from perceptionist.inference import find_bundled_checkpoint

    monkeypatch.chdir(tmp_path)
    (album / "copy").mkdir()
    Image.open(album / "Ann_A" / "0.png").save(tmp_path / "0.png")
    (album / "copy" / "0.png").write_bytes((tmp_path / "0.png").read_bytes())
    if "one file" in message:
        (album / "copy" / "0.png").unlink()
    places = {"album": album, "supervised": find_bundled_checkpoint()}
    assert main(["overlay", *(word.format(**places) for word in words), "--out", "o"]) == 1
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("error: ") and message in last
    assert not list((tmp_path / "o").rglob("*.jpg"))


def test_stored_coefficients_beside_the_images_are_not_replaced(album: Path, capsys) -> None:
    assert main(["overlay", str(album), "--out", str(album), "--save-coefficients"]) == 1
    assert "choose another --out" in capsys.readouterr().err


def test_a_missing_bundled_expert_is_reported(monkeypatch) -> None:
    from perceptionist import image_expert

    monkeypatch.setattr(image_expert, "BUNDLED_EXPERT", "weights/none.safetensors")
    with pytest.raises(FileNotFoundError, match=r"none.safetensors.*quick_expert"):
        load_image_expert()


def test_images_that_differ_in_their_ending_have_overlays_of_their_own(tmp_path: Path) -> None:
    for name in ("a.png", "a.jpg", "b.png"):
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    found = {file.path.name: file.relative_path.as_posix() for file in find_image_files([tmp_path])}
    assert found == {"a.jpg": "a_jpg", "a.png": "a_png", "b.png": "b"}
