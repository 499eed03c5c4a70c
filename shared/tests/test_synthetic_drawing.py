"""Images of the head with skin, eyes, hair and clothes."""

from dataclasses import replace

import numpy as np
import pytest
from voiceface.rendering import rasterize_triangles
from voiceface.synthetic.camera import sample_render_params
from voiceface.synthetic.dataset import generate_identity
from voiceface.synthetic.head.drawn_head import SKIN, load_drawn_head
from voiceface.synthetic.head.geometry_truth import build_face_ground_truth
from voiceface.synthetic.head.glasses import own_glasses
from voiceface.synthetic.head.hair import build_hair
from voiceface.synthetic.head.hair_styles import HairStyle, choose_hair_style
from voiceface.synthetic.head.model import build_head_model
from voiceface.synthetic.head.render import prepare_face, render_image
from voiceface.synthetic.head.shading import sample_texture
from voiceface.synthetic.head.traits import sample_traits
from voiceface.synthetic.head.unrolling import skin_coordinates
from voiceface.synthetic.head.view import rasterize_before
from voiceface.synthetic.identities import sample_identities
from voiceface.synthetic.layout import build_settings, generator_version
from voiceface.synthetic.writer import write_population

SIDE = 96


@pytest.fixture(scope="module")
def people():
    return sample_identities(np.arange(60))


def draw(identities, row, image=0, **options):
    options = {"image_size": SIDE, **options}
    return render_image(identities, row, image, **options)


def plain(identities, row, **changes):
    """One identity without what is its own, apart from `changes` of its factors."""
    person = identities.take([row])
    factors = np.zeros((1, 8))
    for number, value in changes.items():
        factors[0, int(number[1:])] = value
    return replace(person, shape_nuisance=0.0 * person.shape_nuisance, face_factors=factors)


def grey(image):
    return image.astype(float).mean(axis=-1)


def window(image, marks, low, high, side=3):
    """Mean of the grey values between two landmarks."""
    box = np.sort(np.stack([marks[low], marks[high]]), axis=0)
    (x0, y0), (x1, y1) = np.rint(box).astype(int)
    return grey(image)[y0 : y1 + side, x0 : x1 + side].mean()


def test_a_picture_does_not_depend_on_what_was_drawn_before(people):
    one = draw(people, 5, 2)
    draw(people, 1)
    alone = sample_identities([5])
    again = draw(alone, 0, 2, face=prepare_face(alone, 0))
    assert one.image.tobytes() == again.image.tobytes()
    assert np.array_equal(one.landmarks, again.landmarks)


def test_people_and_pictures_differ(people):
    first = draw(people, 5).image
    assert not np.array_equal(first, draw(people, 5, 1).image)
    assert not np.array_equal(first, draw(people, 6).image)


def test_the_truth_is_that_of_the_sampled_parameters(people):
    rendered = draw(people, 7, 3)
    params = sample_render_params(people, 7, 3)
    assert np.allclose(rendered.landmarks, SIDE * params.landmarks)


def test_a_face_is_skin_with_darker_eyes_and_redder_lips(people):
    rendered = draw(plain(people, int(np.argmin(people.face_sex))), 0, nuisance=0.0)
    marks, image = rendered.landmarks, rendered.image
    cheek = window(image, marks, 41, 31)
    for eye in ((36, 39), (42, 45)):
        corner = np.rint(marks[list(eye)].mean(axis=0)).astype(int)
        assert grey(image)[corner[1], corner[0]] < 0.8 * cheek
    lips = np.rint(marks[57]).astype(int)
    beside = np.rint(marks[5] + 8 * np.array([1, -1])).astype(int)

    def redness(place):
        pixel = image[place[1], place[0]].astype(float)
        return pixel[0] / pixel[1]

    assert redness(lips - [0, 2]) > 1.1 * redness(beside)


def test_a_frontal_picture_is_about_symmetric(people):
    bald = plain(people, int(np.argmax(people.face_sex)))
    face = prepare_face(bald, 0)
    image = grey(draw(bald, 0, nuisance=0.0, face=face).image)
    middle = slice(SIDE // 3, 3 * SIDE // 4)
    mirrored = image[:, ::-1]
    assert np.corrcoef(image[middle].ravel(), mirrored[middle].ravel())[0, 1] > 0.8


def test_age_wrinkles_the_forehead_and_greys_the_hair(people):
    row = int(np.argmax(people.face_sex))
    young, old = (sample_traits(plain(people, row, g7=value), 0) for value in (-2.0, 2.0))
    assert old.age > young.age + 0.8 and old.hair.mean() > young.hair.mean()
    faces = [prepare_face(plain(people, row, g7=value), 0) for value in (-2.0, 2.0)]
    texel = skin_coordinates(np.array([[0.0, 42.0, 90.0]]))[0].astype(int)
    rough = [
        face.skin[texel[1] - 20 : texel[1] + 20, texel[0] - 30 : texel[0] + 30, 1].std() for face in faces
    ]
    assert rough[1] > 1.5 * rough[0]


def test_the_larynx_factor_thins_brows_and_beard(people):
    row = int(np.argmax(people.face_sex))
    thick, thin = (sample_traits(plain(people, row, g0=value), 0) for value in (-2.0, 2.0))
    assert thick.brow_thickness > 1.5 * thin.brow_thickness and thick.beard > thin.beard + 0.5
    head = load_drawn_head()
    place = head.brows[0].window
    brows = [
        prepare_face(plain(people, row, g0=value), 0).skin[place][..., 1].mean() for value in (-2.0, 2.0)
    ]
    assert brows[0] < 0.97 * brows[1]


def test_every_hair_style_is_drawn_above_the_face(people):
    head = load_drawn_head()
    names = set()
    for row in range(60):
        traits = sample_traits(people, row)
        names.add(choose_hair_style(traits).name)
    assert len(names) >= 9
    traits = sample_traits(people, 0)
    vertices = build_head_model().mean
    for style in (HairStyle("short"), HairStyle("long", "parting", length=120.0), HairStyle("back", "back")):
        hair = build_hair(head.hull, vertices, style, replace(traits, baldness=0.0))
        assert len(hair.points) == style.shells and all(len(each) for each in hair.triangles)
        top = hair.points[-1][:, 1].max()
        assert vertices[:, 1].max() + 3 < top < vertices[:, 1].max() + 40
        assert bool(len(hair.behind)) == bool(style.length)
        assert (hair.points[-1][:, 1].min() < -100) == bool(style.length) or style.length == 0


def test_chin_and_lips_shade_what_lies_below():
    head = load_drawn_head()
    mean = build_head_model().mean
    skin = np.unique(head.coarse.surface[head.coarse.material == SKIN])
    forehead = skin[np.argmin(np.linalg.norm(mean[skin] - [0.0, 45.0, 92.0], axis=1))]
    throat = skin[np.argmin(np.linalg.norm(mean[skin] - [0.0, -122.0, 42.0], axis=1))]
    assert head.coarse.occlusion[forehead] > 0.9 > 0.5 > head.coarse.occlusion[throat]


def test_glasses_and_beards_are_drawn_before_the_face(people):
    traits = [sample_traits(people, row) for row in range(len(people))]
    assert own_glasses(people.seed, people.ids).tolist() == [each.glasses is not None for each in traits]
    row = next(row for row, each in enumerate(traits) if each.glasses is not None)
    face = prepare_face(people, row)
    eyes = face.vertices[load_drawn_head().eyes[0].vertices]
    assert len(face.frame) and face.frame[:, 2].max() > eyes[:, 2].max() + 2.0
    without = replace(face, traits=replace(traits[row], glasses=None))
    change = np.abs(
        grey(draw(people, row, nuisance=0, face=face).image)
        - grey(draw(people, row, nuisance=0, face=without).image)
    )
    assert 0.005 < (change > 20).mean() < 0.15
    bearded = next(row for row, each in enumerate(traits) if each.beard > 0.8 and each.beard_cut == 0)
    face = prepare_face(people, bearded)
    shaved = replace(face, beard=None)
    change = grey(draw(people, bearded, nuisance=0, face=face).image) - grey(
        draw(people, bearded, nuisance=0, face=shaved).image
    )
    marks = draw(people, bearded, nuisance=0, face=face).landmarks
    assert np.abs(change[: int(marks[30, 1])]).mean() < 0.2 * np.abs(change[int(marks[33, 1]) :]).mean()


def test_the_skin_of_the_truth_is_the_one_that_is_painted(people):
    colours = build_face_ground_truth(people).skin
    np.testing.assert_allclose(colours[7], np.sqrt(np.clip(sample_traits(people, 7).skin, 0, 1)), atol=1e-12)


def test_seams_of_the_texture_are_no_streaks():
    head = load_drawn_head()
    for mesh in (head.coarse, head.fine):
        # The throat lies around the axis of the texture: nobody sees its triangles.
        throat = mesh.refine(head.bundle.regions["mouth"][: len(head.coarse.transfer)])[mesh.source] > 0.5
        on_skin = mesh.triangles[mesh.material == SKIN]
        on_skin = on_skin[~throat[on_skin].any(axis=1)]
        assert np.ptp(mesh.texels[on_skin, 0], axis=1).max() <= 256
        assert len(mesh.source) == len(mesh.texels) and mesh.triangles.max() < len(mesh.source)


def test_a_population_has_the_same_pictures_for_any_number_of_workers(tmp_path):
    settings = build_settings("tiny", num_identities=3, clips=0, images=1, render_size=32, mesh=True)
    assert settings.generator == generator_version()
    trees = [
        write_population(tmp_path / str(workers), settings, workers=workers, lists=False, progress=False)
        for workers in (1, 2)
    ]
    pictures = [sorted(tree.glob("faces/*/*.jpg")) for tree in trees]
    assert len(pictures[0]) == 3
    assert [path.read_bytes() for path in pictures[0]] == [path.read_bytes() for path in pictures[1]]
    mesh = next(trees[0].glob("mesh/*/*.xyz"))
    assert len(np.loadtxt(mesh)) == len(build_head_model().mean)
    _, images, truth = generate_identity((settings, settings.ids()[0]))
    assert images.shape == (1, 32, 32, 3) and truth.shape.shape == (40,)


def test_the_box_of_triangles_changes_no_pixel():
    random = np.random.default_rng(3)
    screen = random.uniform([-60.0, 20.0, 0.0], [250.0, 500.0, 9.0], (40, 3)).astype(np.float32)
    triangles = random.permutation(40)[:39].reshape(13, 3).astype(np.int32)
    depth = np.where(random.random((400, 300)) < 0.5, np.float32(4.0), np.float32(-1e8))
    pixels, fragments = rasterize_before(screen, triangles, depth)
    whole = rasterize_triangles(screen, triangles, 400, 300, depth=depth.copy(), threads=1)
    assert np.array_equal(pixels, np.flatnonzero(whole.triangles.ravel() >= 0)) and len(pixels) > 5000
    assert np.array_equal(fragments.triangles[0], whole.triangles.ravel()[pixels])
    np.testing.assert_allclose(fragments.weights[0], whole.weights.reshape(-1, 3)[pixels], atol=1e-6)
    nothing, empty = rasterize_before(screen - np.float32(1000.0), triangles, depth)
    assert len(nothing) == 0 and empty.depth.shape == (1, 0)


@pytest.mark.parametrize("count", [0, 1, 4097])
def test_any_number_of_texels_is_sampled(count):
    texture = np.arange(60, dtype=np.float32).reshape(4, 5, 3)
    place = np.arange(count, dtype=np.float32)
    found = sample_texture(texture, place % 5, place % 4)
    assert found.shape == (count, 3)
    assert np.array_equal(found, texture[(place % 4).astype(int), (place % 5).astype(int)])
