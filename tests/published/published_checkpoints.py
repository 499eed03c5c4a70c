"""Files of perceptionist and voicestyle in the published forms, with random weights."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from published_files import save_expert, save_network
from published_stylegan2 import save_published_checkpoint

# A StyleGAN2 of 256 pixels with few channels; the published table has 512 at 4...64 pixels.
SMALL_STYLEGAN2 = {"channels": (16,) * 7}
SMALL_FACE_NETWORK = {"widths": (8, 16, 24, 32), "features": 32}


def write_face_model(folder: Path) -> Path:
    """Write `train.configs`: a face model of the size of BFM-2009, tiled from the synthetic head."""
    from perceptionist.face_models.bfm import BFM_NUM_VERTICES
    from scipy.io import savemat
    from voiceface.synthetic.head.model import build_head_model

    head = build_head_model().orthonormal
    folder.mkdir(parents=True)
    for name in ("w_shp", "w_exp", "u_shp", "u_exp"):
        values = getattr(head, name)
        points = values.reshape(-1, 3, values.shape[1])
        tiled = np.resize(points, (BFM_NUM_VERTICES, *points.shape[1:]))
        version = "_sim" if name.startswith("w") else ""
        np.save(folder / f"{name}{version}.npy", tiled.reshape(-1, values.shape[1]).astype(np.float32))
    np.save(folder / "keypoints_sim.npy", head.keypoints)
    whitening = {"param_mean": head.param_mean, "param_std": head.param_std}
    _write_pickle(folder / "param_whitening.pkl", whitening)
    savemat(folder / "tri.mat", {"tri": head.tri})
    return folder


def write_face_types(folder: Path, face_model: Path) -> Path:
    """Write the reference shapes `male.obj` … `slim.obj` of a face model."""
    from perceptionist.face_models.io import resolve_face_model
    from perceptionist.face_models.linear import REFERENCE_NAMES
    from perceptionist.meshio.io import write_mesh
    from perceptionist.meshio.mesh import Mesh

    model = resolve_face_model(face_model)
    shapes = torch.randn(len(REFERENCE_NAMES), model.num_shape, generator=torch.Generator().manual_seed(0))
    for name, vertices in zip(REFERENCE_NAMES, model.vertices(0.1 * shapes)):
        write_mesh(folder / f"{name}.obj", Mesh(vertices.T.numpy(), model.triangles))
    return folder


def write_expert_archive(path: Path, face_model: Path) -> Path:
    """Write `2D-to-3D-pretrained.tar`: SynergyNet with the arrays of its face model."""
    from perceptionist.face_models.io import resolve_face_model
    from perceptionist.image_to_3d import ImageTo3D
    from perceptionist.published import ExpertArchive

    model = resolve_face_model(face_model)
    arrays = {
        "w_shp": np.load(face_model / "w_shp_sim.npy"),
        "w_exp": np.load(face_model / "w_exp_sim.npy"),
        "u": np.load(face_model / "u_shp.npy") + np.load(face_model / "u_exp.npy"),
        "param_mean": np.asarray(model.parameter_mean),
        "param_std": np.asarray(model.parameter_std),
    }
    save_expert(path, ExpertArchive(ImageTo3D(), arrays, None, None), copies=True)
    return path


def write_pretrained_models(folder: Path) -> Path:
    """Write `pretrained_models` with the voice network and the supervised head, of the published sizes."""
    from perceptionist.supervised_head import SupervisedHead
    from perceptionist.voice_network import VoiceNetwork

    (folder / "supervised_64").mkdir(parents=True)
    save_network(folder / "voice_embedding.pth", VoiceNetwork())
    save_network(folder / "supervised_64" / "generator_48000.pth", SupervisedHead())
    return folder


def write_voice2face(folder: Path) -> Path:
    """Write a folder with the voice embedding and the generator of voice2face."""
    from perceptionist.generator import Generator
    from perceptionist.voice_network import VoiceNetwork

    folder.mkdir(parents=True)
    save_network(folder / "voice_embedding.pth", VoiceNetwork())
    save_network(folder / "generator.pth", Generator())
    return folder


def write_stylegan2(path: Path, *, full_size: bool = False) -> Path:
    """Write `550000.pt`: a generator of 256 pixels, with few channels unless full size."""
    from voicestyle.stylegan2.config import GeneratorConfig
    from voicestyle.stylegan2.generator import Generator

    torch.manual_seed(0)
    sizes: dict[str, Any] = {} if full_size else SMALL_STYLEGAN2
    save_published_checkpoint(path, Generator(GeneratorConfig(size=256, **sizes)))
    return path


def write_identity_network(path: Path, *, full_size: bool = False) -> Path:
    """Write `model_ir_se50.pth`, with few channels unless full size."""
    from voiceface.models.iresnet import BLOCKS, IR

    torch.manual_seed(0)
    sizes: dict[str, Any] = {"features": 512} if full_size else SMALL_FACE_NETWORK
    network = IR(BLOCKS["ir50"], image_size=112, squeeze_excitation=True, **sizes)
    torch.save(network.state_dict(), path)
    return path


def write_clip(path: Path) -> Path:
    """Write CLIP ViT-B/32 of the published size as open_clip stores it; needs the package open_clip."""
    import open_clip
    from safetensors.torch import save_file

    torch.manual_seed(0)
    network = open_clip.create_model("ViT-B-32-quickgelu", pretrained=None)
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, path)
    return path


def _write_pickle(path: Path, content: Any) -> None:
    import pickle

    path.write_bytes(pickle.dumps(content, protocol=4))
