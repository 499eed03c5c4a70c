"""Images as bytes, and the overlay of a mesh on a face."""

import numpy as np
import pytest
import torch
from perceptionist.face_models.linear import FaceParameters
from perceptionist.face_models.synthetic_head import (
    build_synthetic_face_model,
    expression_coefficients,
    orthonormal_shape,
    pose_parameters,
)
from perceptionist.visualisation import images_to_uint8, overlay_mesh, pose_mesh
from voiceface.synthetic.camera import sample_render_params
from voiceface.synthetic.head.render import render_image
from voiceface.synthetic.head.shape_space import shape_coefficients
from voiceface.synthetic.identities import sample_identities


def test_quantisation_of_both_rules_by_hand() -> None:
    values = torch.tensor([-9.0, -1, -0.99, 0, 0.5, 1, 3]).reshape(1, 1, 1, 7).expand(1, 3, 7, 7)
    assert images_to_uint8(values)[0, 0, :, 0].tolist() == [0, 0, 1, 128, 191, 255, 255]
    assert images_to_uint8(values, "published")[0, 0, :, 0].tolist() == [0, 0, 1, 128, 191, 255, 255]
    grid = (torch.arange(256) / 127.5 - 1).reshape(1, 1, 16, 16).expand(1, 3, 16, 16)
    assert images_to_uint8(grid)[0, ..., 2].ravel().tolist() == list(range(256))
    with pytest.raises(ValueError, match="even, published"):
        images_to_uint8(grid, "odd")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"\(B, 3, S, S\)"):
        images_to_uint8(grid[0])


def test_channels_keep_their_order() -> None:
    faces = torch.tensor([-1.0, 0, 1]).reshape(1, 3, 1, 1).expand(2, 3, 4, 5)
    result = images_to_uint8(faces)
    assert result.shape == (2, 4, 5, 3)
    assert result[1, 2, 3].tolist() == [0, 128, 255]


@pytest.mark.parametrize("side", [120, 60])
def test_true_parameters_overlay_the_mesh_on_the_face(side: int) -> None:
    model, identities = build_synthetic_face_model(), sample_identities(range(3), rho=0.7)
    alpha = shape_coefficients(identities)
    for i in range(3):
        image = render_image(identities, i, 0, image_size=side, nuisance=0.3)
        view = sample_render_params(identities, i, 0, nuisance=0.3)
        known = FaceParameters(
            torch.from_numpy(pose_parameters(view, alpha[i]))[None],
            torch.from_numpy(orthonormal_shape(identities)[i : i + 1]),
            torch.from_numpy(expression_coefficients(view.expression[None])),
        )
        vector = model.whiten(known)
        placed, _ = pose_mesh(model, model.frontal_vertices(vector), vector)
        before = image.image.copy()
        displayed = overlay_mesh(image.image, placed[0], model)
        assert np.array_equal(image.image, before)
        covered = (displayed != before).any(axis=2)
        x, y = np.rint(image.landmarks[17:]).astype(int).T  # brows, nose, eyes, mouth
        assert covered[y, x].all()
        assert 0.25 < covered.mean() < 0.75
        assert not covered[:, [0, -1]].any()  # the head is narrower than the picture
        half = overlay_mesh(image.image, placed[0], model, 0.5).astype(float)
        np.testing.assert_allclose(half, (before + displayed.astype(float)) / 2, atol=0.51)
