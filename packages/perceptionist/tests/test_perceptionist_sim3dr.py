"""`perceptionist.sim3dr`: the shared renderer under its public name, and names of the published program."""

import numpy as np
from perceptionist import sim3dr
from voiceface import rendering


def test_the_public_name_is_the_shared_renderer():
    for name in {*sim3dr.__all__} - {"RenderPipeline", "get_normal"}:
        assert getattr(sim3dr, name) is getattr(rendering, name)


def test_published_names_draw_with_the_published_rule():
    rng = np.random.default_rng(8)
    vertices = np.round(rng.uniform(0, 40, (60, 3))).astype(np.float32)  # corners on pixels: the rules differ
    triangles = rng.integers(0, 60, (90, 3)).astype(np.int32)
    empty = np.zeros((41, 41, 3), np.uint8)
    pipeline = sim3dr.RenderPipeline(intensity_ambient=0.2, specular_exp=2)
    light = sim3dr.Lighting(intensity_ambient=0.2, specular_exp=2)
    image = pipeline(vertices, triangles, empty.copy())
    assert np.array_equal(image, light(vertices, triangles, empty.copy(), coverage="inclusive"))
    assert not np.array_equal(image, light(vertices, triangles, empty.copy()))
    pipeline.update_light_pos((3, 0, 2))
    expected = light.moved((3, 0, 2))(vertices, triangles, empty.copy(), coverage="inclusive")
    assert np.array_equal(pipeline(vertices, triangles, empty.copy()), expected)
    assert np.array_equal(sim3dr.get_normal(vertices, triangles), sim3dr.get_normals(vertices, triangles))
