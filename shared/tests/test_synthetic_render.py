"""Rendered images: visible content, invariances, and agreement with the reference rasteriser."""

from dataclasses import replace

import numpy as np
import pytest
import raster_reference
from voiceface.synthetic.face import raster, render
from voiceface.synthetic.face.appearance import build_appearance
from voiceface.synthetic.face.masks import MAP_SIZE, build_shared_masks
from voiceface.synthetic.identities import num_videos, sample_identities

SIDE = 96


@pytest.fixture(scope="module")
def identities():
    return sample_identities(np.arange(24), seed=0)


def plain(identities, row=0, **values):
    """One identity with mean shape."""
    identity = identities.take([row])
    return replace(identity, face_factors=np.zeros((1, 8)), shape_nuisance=np.zeros((1, 40)), **values)


def grey(image):
    return image.astype(float).mean(axis=-1)


def patch(image, landmarks, indices, radius=2):
    """Mean grey level around the centre of some landmarks."""
    x, y = np.rint(landmarks[list(indices)].mean(axis=0)).astype(int)
    return grey(image)[y - radius : y + radius + 1, x - radius : x + radius + 1].mean()


def test_shape_type_and_ground_truth(identities):
    rendered = render.render_image(identities, 3, 1, image_size=SIDE)
    assert rendered.image.shape == (SIDE, SIDE, 3) and rendered.image.dtype == np.uint8
    assert rendered.expression.shape == (10,) and (rendered.expression >= 0).all()
    assert rendered.pose_degrees.shape == (3,) and np.abs(rendered.pose_degrees).max() < 40
    assert rendered.landmarks.shape == (68, 2)
    assert 90 <= rendered.jpeg_quality <= 95
    assert ((rendered.landmarks > 0) & (rendered.landmarks < SIDE)).mean() > 0.95


@pytest.mark.parametrize("row", range(6))
def test_skin_covers_a_quarter(identities, row):
    """Skin is where the colour is close to that of cheeks and forehead, up to shading."""
    rendered = render.render_image(identities, row, 0, image_size=SIDE, nuisance=0)
    image, marks = rendered.image.astype(float) + 1, rendered.landmarks
    cheek = np.rint((marks[2] + marks[30]) / 2).astype(int)
    sample = image[cheek[1] - 2 : cheek[1] + 3, cheek[0] - 2 : cheek[0] + 3].reshape(-1, 3).mean(axis=0)
    hue, wanted = image / image.sum(axis=-1, keepdims=True), sample / sample.sum()
    skin = (np.abs(hue - wanted).max(axis=-1) < 0.05) & (grey(image) > 0.45 * sample.mean())
    assert skin.mean() >= 0.25


@pytest.mark.parametrize("row", range(6))
def test_eyes_are_darker_than_cheeks(identities, row):
    rendered = render.render_image(identities, row, 0, image_size=SIDE, nuisance=0)
    cheek = patch(rendered.image, rendered.landmarks, (2, 30))
    for eye in (range(36, 42), range(42, 48)):
        assert patch(rendered.image, rendered.landmarks, eye) < cheek


def test_symmetric_from_the_front(identities, monkeypatch):
    light = render.light_vector

    def from_the_middle(*args):
        values = light(*args)
        values[[0, 3]] = 0.0
        return values

    monkeypatch.setattr(render, "light_vector", from_the_middle)
    image = grey(render.render_image(plain(identities), 0, 0, image_size=SIDE, nuisance=0).image)
    middle = image[SIDE // 4 : 3 * SIDE // 4, SIDE // 6 : -SIDE // 6]
    assert np.abs(middle - middle[:, ::-1]).mean() < 2.0


def test_landmarks_are_box_normalised(identities):
    """The landmarks' box has the same mean side in every image: size carries no information."""
    for row in range(8):
        marks = render.render_image(identities, row, 0, image_size=SIDE, nuisance=0).landmarks
        extent = np.ptp(marks, axis=0)
        assert extent.mean() == pytest.approx(0.60 * SIDE, rel=1e-6)
        assert (marks.min(axis=0) + extent / 2) == pytest.approx([0.5 * SIDE, 0.56 * SIDE])


def test_the_size_of_the_head_is_not_visible(identities):
    face = render.prepare_face(identities, 2)
    view = render.sample_render_params(identities, 2, 0, nuisance=0)
    extent = np.ptp(view.landmarks, axis=0).mean()
    assert extent == pytest.approx(0.60)
    assert face.neutral_vertices.shape == (6400, 3)


GOLDEN_GREY = (  # pixels of image k of identity k, rows 20, 32 ... 80, columns 14, 26 ... 86 of 96
    "103 95 140 65 96 30 96 104 124 133 113 107 83 91 105 136 128 120 102 78 86 "
    "106 114 137 100 90 73 83 95 122 131 119 83 83 79 92 146 94 77 56 68 81",
    "115 167 179 185 170 158 63 147 161 185 101 112 114 65 133 141 151 185 163 87 79 "
    "151 147 165 165 139 95 85 125 138 157 137 144 91 82 138 94 109 137 95 102 92",
    "116 164 173 184 108 97 87 107 162 115 168 177 111 83 125 173 185 171 169 97 101 "
    "121 161 187 174 164 86 115 110 171 181 160 154 98 119 136 135 79 129 95 82 116",
)


@pytest.mark.parametrize("k", range(3))
def test_golden_pixels(k):
    image = render.render_image(sample_identities([k]), 0, k, image_size=96).image
    golden = np.array(GOLDEN_GREY[k].split(), float).reshape(6, 7)
    assert np.abs(image[20:92:12, 14:90:12].mean(2) - golden).max() < 1.5


GOLDEN_MASKS = """
    blush 4922.21 115.1590
    freckles 773.139 129.3864
    hollow 2792.29 128.5579
    under_chin 4589.29 14.2572
    nasolabial 563.373 97.2727
    forehead_lines 304.483 198.5988
    eye_bags 450.723 147.0022
    crow 313.849 159.8847
    lips 843.731 82.3899
    lip_edge 134.415 74.8828
    mouth_line 152.448 84.0162
    beard 10136.3 60.0099
    wing_crease 164.184 114.0828
    nose_side 750.4 145.9625
    nose_ridge 380.4 137.7601
    nostril 86.0293 106.3009
    eye 441.36 157.4028
    iris 219.066 157.4647
    iris_rim 77.6566 157.5363
    pupil 47.7763 157.4182
    highlight 14.075 159.5090
    caruncle 22.4485 156.3084
    lid_shadow 138.488 159.8218
    lashes 130.552 161.2539
    lower_lashes 105.3 153.5916
    crease 154.1 164.5235
    gloss 9917.74 119.5196
"""  # name, sum of all values, mean row


def test_golden_masks():
    masks = build_shared_masks()
    golden = {
        name: tuple(map(float, values)) for name, *values in map(str.split, GOLDEN_MASKS.split("\n")[1:-1])
    }
    assert set(masks) == set(golden)
    for name, soft in masks.items():
        rows = soft.mask.sum(axis=1, dtype=np.float64)
        mean_row = np.average(np.arange(MAP_SIZE)[soft.window[0]], weights=rows)
        assert (rows.sum(), mean_row) == pytest.approx(golden[name], rel=1e-4), name


def test_normals_of_a_sphere_are_its_points():
    turn, height = np.meshgrid(np.linspace(0, 2 * np.pi, 121), np.linspace(-1.2, 1.2, 80))
    points = np.stack([np.sin(turn) * np.cos(height), np.sin(height), np.cos(turn) * np.cos(height)], axis=2)
    normals = raster.compute_grid_normals(points.astype(np.float32), True)
    assert np.abs(normals - points)[1:-1].max() < 2e-3


@pytest.mark.parametrize("row", [0, 2])
def test_compiled_and_reference_agree(identities, row, monkeypatch):
    fast = render.render_image(identities, row, 1, image_size=64).image.astype(int)
    monkeypatch.setattr(raster, "rasterise_grid", raster_reference.rasterise_grid_reference)
    slow = render.render_image(identities, row, 1, image_size=64).image.astype(int)
    difference = np.abs(fast - slow)
    assert difference.mean() < 2
    assert np.percentile(difference, 99) < 25


def test_the_reference_shades_like_the_compiled_code():
    rng = np.random.default_rng(0)
    normals = rng.normal(size=(50, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    paint = rng.random((50, 4))
    light = np.array([0.2, 0.4, 0.89, 0.1, 0.2, 0.97, 0.4, 0.7], np.float32)
    expected = [raster.shade(*normal, light, *values) for normal, values in zip(normals, paint)]
    assert np.allclose(raster_reference._shade(normals, light.astype(float), paint), expected, atol=1e-5)


def test_images_do_not_depend_on_others_or_order(identities):
    crowd = sample_identities(np.arange(23, -1, -1), seed=0)
    alone = sample_identities([5], seed=0)
    one = render.render_image(identities, 5, 2, image_size=48)
    render.render_image(identities, 1, 0, image_size=48)
    for other in (
        render.render_image(crowd, 18, 2, image_size=48),
        render.render_image(alone, 0, 2, image_size=48, face=render.prepare_face(alone, 0)),
    ):
        assert np.array_equal(one.image, other.image)
        assert np.array_equal(one.expression, other.expression)


def test_seed_image_and_identity_change_the_image(identities):
    first = render.render_image(identities, 5, 0, image_size=48).image
    assert not np.array_equal(first, render.render_image(identities, 5, 1, image_size=48).image)
    assert not np.array_equal(first, render.render_image(identities, 6, 0, image_size=48).image)
    other = sample_identities([5], seed=1)
    assert not np.array_equal(first, render.render_image(other, 0, 0, image_size=48).image)


@pytest.mark.parametrize("row", [0, 4, 7])
def test_without_nuisance_all_images_of_an_identity_and_a_video_are_equal(identities, row):
    videos = num_videos(int(identities.ids[row]), seed=0)
    same_video = (0, videos, 2 * videos)
    params = [render.sample_render_params(identities, row, i, nuisance=0) for i in (*same_video, 1)]
    assert all((view.pose == 0).all() and (view.expression == 0).all() for view in params)
    assert [view.video for view in params] == [0, 0, 0, 1]
    images = [render.render_image(identities, row, i, image_size=48, nuisance=0).image for i in same_video]
    assert all(np.array_equal(images[0], image) for image in images[1:])
    other = render.render_image(identities, row, 1, image_size=48, nuisance=0).image
    face = slice(20, 34), slice(18, 30)  # the angle of the background differs between videos
    assert np.array_equal(images[0][face], other[face])
    varied = [render.render_image(identities, row, i, image_size=48, nuisance=1).image for i in same_video]
    assert not np.array_equal(varied[0], varied[1]) and not np.array_equal(varied[1], varied[2])


def test_params_equal_those_of_the_image(identities):
    view = render.sample_render_params(identities, 7, 3)
    rendered = render.render_image(identities, 7, 3, image_size=SIDE)
    assert np.allclose(np.degrees(view.pose), rendered.pose_degrees)
    assert np.array_equal(view.expression, rendered.expression)
    assert np.allclose(SIDE * view.landmarks, rendered.landmarks)
    assert view.video == rendered.video


@pytest.mark.parametrize("factor", range(8))
@pytest.mark.parametrize("male", [True, False])
def test_every_factor_is_visible(identities, factor, male):
    row = int(np.argmax(identities.face_sex == int(male)))
    images = []
    for value in (-2.0, 2.0):
        g = np.zeros((1, 8))
        g[0, factor] = value
        identity = replace(plain(identities, row), face_factors=g)
        images.append(grey(render.render_image(identity, 0, 0, image_size=SIDE, nuisance=0).image))
    # Some are large and faint, some small: the nose is 3 % of the rendered.
    assert np.percentile(np.abs(images[0] - images[1]), 99.5) > 15


def test_age_makes_grey_and_wrinkled(identities):
    row = int(np.argmax(identities.face_sex == 1))
    young, old = (
        replace(plain(identities, row), face_factors=np.array([[0, 0, 0, 0, 0, 0, 0, value]], float))
        for value in (-2, 2)
    )
    spread = lambda colour: np.ptp(colour) / colour.mean()  # noqa: E731
    assert spread(build_appearance(old, 0).hair_colour) < spread(build_appearance(young, 0).hair_colour)
    forehead = slice(168, 182), slice(110, 130)
    texture = lambda identity: build_appearance(identity, 0).texture[forehead][..., 0]  # noqa: E731
    assert texture(old).std() > 2 * texture(young).std()


def test_larynx_thins_the_beard_of_men_only(identities):
    for male in (0, 1):
        row = int(np.argmax(identities.face_sex == male))
        identity = plain(identities, row)
        dark, light = (
            build_appearance(replace(identity, face_factors=value * np.eye(8)[:1]), 0) for value in (-2, 2)
        )
        chin = slice(62, 70), slice(105, 135)
        change = light.texture[chin][..., :3].mean() - dark.texture[chin][..., :3].mean()
        assert change > 0.02 if male else abs(change) < 1e-6


def test_long_hair_by_sex():
    crowd = sample_identities(np.arange(400), seed=9)
    long = np.array([build_appearance(crowd, i).hair_length > 0 for i in range(0, 400, 2)])
    sex = crowd.face_sex[::2]
    assert 0.74 < long[sex == 0].mean() < 0.95
    assert long[sex == 1].mean() < 0.14


def test_confounded_skin_follows_the_nationality():
    apart = sample_identities(np.arange(300), seed=2, confound=1.0)
    same = sample_identities(np.arange(300), seed=2)
    tone = lambda crowd, i: build_appearance(crowd, i).texture[150, 120, :3].sum()  # noqa: E731
    shift = np.array([tone(apart, i) - tone(same, i) for i in range(40)])
    assert np.corrcoef(shift, apart.skin_shift[:40])[0, 1] < -0.8


@pytest.mark.parametrize("wrong", [{"image_size": 4}, {"nuisance": -1.0}])
def test_invalid_arguments_raise(identities, wrong):
    with pytest.raises(ValueError, match="expected image_size"):
        render.render_image(identities, 0, 0, **wrong)
