"""Rendered images: visible content, invariances, golden pixels."""

from dataclasses import replace

import numpy as np
import pytest
from voiceface.synthetic.camera import LANDMARK_BOX_SIZE, sample_render_params
from voiceface.synthetic.head.render import prepare_face, render_image
from voiceface.synthetic.head.traits import compute_skin_colours, sample_traits
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
    rendered = render_image(identities, 3, 1, image_size=SIDE)
    assert rendered.image.shape == (SIDE, SIDE, 3) and rendered.image.dtype == np.uint8
    assert rendered.expression.shape == (10,) and (rendered.expression >= 0).all()
    assert rendered.pose_degrees.shape == (3,) and np.abs(rendered.pose_degrees).max() < 40
    assert rendered.landmarks.shape == (68, 2)
    assert 90 <= rendered.jpeg_quality <= 95
    assert ((rendered.landmarks > 0) & (rendered.landmarks < SIDE)).mean() > 0.95


@pytest.mark.parametrize("row", range(6))
def test_skin_covers_a_quarter(identities, row):
    """Skin is where the colour is close to that of cheeks and forehead, up to shading."""
    rendered = render_image(identities, row, 0, image_size=SIDE, nuisance=0)
    image, marks = rendered.image.astype(float) + 1, rendered.landmarks
    cheek = np.rint((marks[2] + marks[30]) / 2).astype(int)
    sample = image[cheek[1] - 2 : cheek[1] + 3, cheek[0] - 2 : cheek[0] + 3].reshape(-1, 3).mean(axis=0)
    hue, wanted = image / image.sum(axis=-1, keepdims=True), sample / sample.sum()
    skin = (np.abs(hue - wanted).max(axis=-1) < 0.05) & (grey(image) > 0.45 * sample.mean())
    assert skin.mean() >= 0.25


@pytest.mark.parametrize("row", range(6))
def test_eyes_are_darker_than_cheeks(identities, row):
    rendered = render_image(identities, row, 0, image_size=SIDE, nuisance=0)
    cheek = patch(rendered.image, rendered.landmarks, (2, 30))
    for eye in (range(36, 42), range(42, 48)):
        assert patch(rendered.image, rendered.landmarks, eye) < cheek


def test_landmarks_are_box_normalised(identities):
    """The landmarks' box has the same mean side in every image: size carries no information."""
    for row in range(8):
        marks = render_image(identities, row, 0, image_size=SIDE, nuisance=0).landmarks
        extent = np.ptp(marks, axis=0)
        assert extent.mean() == pytest.approx(LANDMARK_BOX_SIZE * SIDE, rel=1e-6)
        assert (marks.min(axis=0) + extent / 2) == pytest.approx([0.5 * SIDE, 0.59 * SIDE])


def test_the_size_of_the_head_is_not_visible(identities):
    face = prepare_face(identities, 2)
    view = sample_render_params(identities, 2, 0, nuisance=0)
    extent = np.ptp(view.landmarks, axis=0).mean()
    assert extent == pytest.approx(LANDMARK_BOX_SIZE)
    assert face.vertices.shape == (4883, 3)


GOLDEN_GREY = (  # pixels of image k of identity k, rows 20, 32 ... 80, columns 14, 26 ... 86 of 96
    "103 186 179 173 145 16 96 104 91 147 55 102 115 91 105 166 202 159 131 95 87 "
    "106 142 75 155 122 99 83 95 95 117 112 86 135 79 92 46 122 95 116 133 42",
    "129 159 185 196 200 79 62 156 155 142 111 123 113 64 129 156 176 160 172 84 77 "
    "103 131 159 131 104 95 84 138 133 114 121 91 91 82 111 129 96 107 110 101 91",
    "116 202 207 231 163 87 85 83 99 132 78 205 90 97 125 175 95 123 186 126 107 "
    "121 151 212 169 160 111 115 134 118 191 156 163 119 119 137 131 143 158 190 73 116",
)


@pytest.mark.parametrize("k", range(3))
def test_golden_pixels(k):
    image = render_image(sample_identities([k]), 0, k, image_size=96).image
    golden = np.array(GOLDEN_GREY[k].split(), float).reshape(6, 7)
    assert np.abs(image[20:92:12, 14:90:12].mean(2) - golden).max() < 1.5


def test_images_do_not_depend_on_others_or_order(identities):
    crowd = sample_identities(np.arange(23, -1, -1), seed=0)
    alone = sample_identities([5], seed=0)
    one = render_image(identities, 5, 2, image_size=48)
    render_image(identities, 1, 0, image_size=48)
    for other in (
        render_image(crowd, 18, 2, image_size=48),
        render_image(alone, 0, 2, image_size=48, face=prepare_face(alone, 0)),
    ):
        assert np.array_equal(one.image, other.image)
        assert np.array_equal(one.expression, other.expression)


def test_seed_image_and_identity_change_the_image(identities):
    first = render_image(identities, 5, 0, image_size=48).image
    assert not np.array_equal(first, render_image(identities, 5, 1, image_size=48).image)
    assert not np.array_equal(first, render_image(identities, 6, 0, image_size=48).image)
    other = sample_identities([5], seed=1)
    assert not np.array_equal(first, render_image(other, 0, 0, image_size=48).image)


@pytest.mark.parametrize("row", [0, 4, 7])
def test_without_nuisance_all_images_of_an_identity_and_a_video_are_equal(identities, row):
    videos = num_videos(int(identities.ids[row]), seed=0)
    same_video = (0, videos, 2 * videos)
    params = [sample_render_params(identities, row, i, nuisance=0) for i in (*same_video, 1)]
    assert all((view.pose == 0).all() and (view.expression == 0).all() for view in params)
    assert [view.video for view in params] == [0, 0, 0, 1]
    images = [render_image(identities, row, i, image_size=48, nuisance=0).image for i in same_video]
    assert all(np.array_equal(images[0], image) for image in images[1:])
    other = render_image(identities, row, 1, image_size=48, nuisance=0).image
    face = slice(20, 34), slice(18, 30)  # the angle of the background differs between videos
    assert np.array_equal(images[0][face], other[face])
    varied = [render_image(identities, row, i, image_size=48, nuisance=1).image for i in same_video]
    assert not np.array_equal(varied[0], varied[1]) and not np.array_equal(varied[1], varied[2])


def test_params_equal_those_of_the_image(identities):
    view = sample_render_params(identities, 7, 3)
    rendered = render_image(identities, 7, 3, image_size=SIDE)
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
        images.append(grey(render_image(identity, 0, 0, image_size=SIDE, nuisance=0).image))
    # Some are large and faint, some small: the nose is 3 % of the rendered.
    assert np.percentile(np.abs(images[0] - images[1]), 99.5) > 15


def test_long_hair_by_sex():
    crowd = sample_identities(np.arange(400), seed=9)
    long = np.array([sample_traits(crowd, i).hair_length > 0 for i in range(0, 400, 2)])
    sex = crowd.face_sex[::2]
    assert 0.74 < long[sex == 0].mean() < 0.95
    assert long[sex == 1].mean() < 0.14


def test_confounded_skin_follows_the_nationality():
    apart = sample_identities(np.arange(300), seed=2, confound=1.0)
    same = sample_identities(np.arange(300), seed=2)
    shift = (compute_skin_colours(apart) - compute_skin_colours(same)).sum(axis=1)
    assert np.corrcoef(shift, apart.skin_shift)[0, 1] < -0.8


@pytest.mark.parametrize("wrong", [{"image_size": 4}, {"nuisance": -1.0}])
def test_invalid_arguments_raise(identities, wrong):
    with pytest.raises(ValueError, match="expected image_size"):
        render_image(identities, 0, 0, **wrong)
