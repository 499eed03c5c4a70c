"""The readers of foreign files, each with files that it reads and the errors that it documents."""

import gzip
import hashlib
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from graph_readers import build_graph_readers
from media_readers import build_media_readers
from reader import Reader
from shard_readers import build_shard_readers

__all__ = ["READERS"]


def _build() -> dict[str, Reader]:
    """All readers by name."""
    import pyarrow as pa
    import pyarrow.parquet
    import safetensors.torch
    import torch
    import yaml
    from cmpc2.prototype_retrieval import (
        PrototypeRetrievalError,
        TrainingVideo,
        read_training_table,
        write_training_table,
    )
    from perceptionist.face_models.bfm import read_bfm_coefficients, read_whitening
    from perceptionist.face_models.linear import FaceModelError
    from perceptionist.face_models.matlab import read_matlab_array
    from perceptionist.meshio.io import read_mesh, write_mesh
    from perceptionist.meshio.mesh import Mesh, MeshError
    from perceptionist.meshio.ply import write_ply
    from scipy.io import savemat
    from sf2f.split import read_metadata, read_split
    from voiceface.audio.feature_files import read_feature_file
    from voiceface.audio.vad import SpeechError
    from voiceface.checkpoints.native import load_model, save_model
    from voiceface.checkpoints.published import CheckpointError, read_published
    from voiceface.checkpoints.resume_state import load_state, save_state
    from voiceface.datasets.avspeech.table import AvspeechError, read_segments
    from voiceface.datasets.identities import (
        IdentityError,
        read_identity_csv,
        read_identity_splits,
        read_vox1_meta,
    )
    from voiceface.datasets.manifest import read_manifest
    from voiceface.datasets.trials.reading import read_trial_list
    from voiceface.datasets.trials.trial_list import TrialListError
    from voiceface.embeddings.columnar import to_parquet
    from voiceface.embeddings.parts import format_index, list_parts, to_part
    from voiceface.embeddings.table import EmbeddingError, EmbeddingTable
    from voiceface.gallery import GalleryError, open_gallery
    from voiceface.gallery.index_file import write_index
    from voiceface.gallery.interface import GalleryFacts
    from voiceface.gallery.segments import Segment
    from voiceface.io.foreign_files import read_json
    from voiceface.io.safe_pickle import ArrayFileError, read_npy, read_npz, read_pickle
    from voiceface.runtime.config import ConfigError
    from voiceface.runtime.published_config import read_yaml
    from voicestyle.stylegan2.fid import load_statistics

    random = np.random.default_rng(0)
    torch.manual_seed(0)
    weights = {"net.a": torch.randn(3, 4), "net.b": torch.arange(5), "half": torch.randn(4).half()}
    content = {"state_dict": weights, "epoch": 3, "best": np.float64(0.5), "history": random.normal(size=4)}
    arrays = {
        "mean": random.normal(size=7),
        "more": [1, "a", None, (2.5, np.arange(4))],
        "n": {"x": np.ones(2)},
    }
    table = EmbeddingTable([f"id/{n}.wav" for n in range(6)], random.normal(size=(6, 4)).astype("f4"), "f1")
    part = EmbeddingTable(table.items, table.vectors, "f1", {"id/9.wav": "bad"})
    foreign = pa.table({"item": table.items, "embedding": pa.array(table.vectors.tolist())})
    mesh = Mesh(random.normal(size=(6, 3)), np.array([[0, 1, 2], [2, 3, 4], [3, 4, 5]], np.int32))
    coloured = Mesh(mesh.vertices, mesh.triangles, np.full((6, 3), 0.5, np.float32))
    people = 'id1,Ann,f,USA,dev\nid2,\u00c9va,f,"Un\nion",test\nid3,Cy,m,,none\n'
    match = "id1/v/1.wav A/1.jpg B/1.jpg\nid2/v/1.wav B/2.jpg A/2.jpg\n" * 3
    manifest = "identity,modality,path,gender,nationality,age,split\n"
    manifest += "Ann,voice,a.wav,f,USA,34,test\nAnn,face,a.jpg,,,,test\n"
    config = {"training": {"lr": 0.1, "steps": [1, 2]}, "name": "a", "shared": {"x": 1.5, "y": None}}

    def text(value: str) -> Callable[[Path], Any]:
        return lambda path: path.write_text(value, encoding="utf-8")

    def write_arrow(path: Path) -> None:
        with pa.ipc.new_file(path, foreign.schema) as writer:
            writer.write_table(foreign)

    def save_npz(path: Path, **values: Any) -> None:
        with path.open("wb") as file:
            np.savez(file, **values)

    def load_table(path: Path) -> Any:
        found = EmbeddingTable.load(path)
        return found.items, found.vectors, found.fingerprint

    def open_gallery_array(path: Path) -> Any:
        """Open the segment of three rows whose offsets are the file."""
        rest = {
            "vectors": np.zeros((3, 2), np.float32),
            "text": np.zeros(6, np.uint8),
            "hashes": np.zeros((2, 3), np.int64),
        }
        for part, array in rest.items():
            np.save(path.with_name(f"0f.{part}.npy"), array)
        arrays = {**rest, "offsets": np.arange(7)}
        digests = {part: hashlib.sha256(array.tobytes()).hexdigest() for part, array in arrays.items()}
        record = {"name": "0f", "rows": 3, "text_bytes": 6, "sha256": digests}
        return Segment.open(path.parent, record, 2).offsets

    published, state = (
        (CheckpointError,),
        {"optimiser": {"m": torch.ones(3)}, "step": 4, "list": [1, (2, b"x")]},
    )
    coefficients = {"shape": np.ones(199, "f4"), "expression": np.ones(29, "f4")}
    statistics = {"mean": np.ones(3), "cov": np.eye(3), "size": 32, "path": "x"}
    return {
        "checkpoint (zip)": Reader(
            "a.pth", lambda p: torch.save(content, p), read_published, published, True
        ),
        "checkpoint (old)": Reader(
            "a.pth",
            lambda p: torch.save(content, p, _use_new_zipfile_serialization=False),
            read_published,
            published,
        ),
        "checkpoint (safetensors)": Reader(
            "a.safetensors", lambda p: safetensors.torch.save_file(weights, p), read_published, published
        ),
        "model": Reader(
            "a.safetensors",
            lambda p: save_model(p, weights, system="s", kind="k", config=config),
            lambda p: vars(load_model(p)),
            published,
            True,
        ),
        "resume state": Reader("a.safetensors", lambda p: save_state(p, state), load_state, published, True),
        "pickle": Reader(
            "a.pkl", lambda p: p.write_bytes(pickle.dumps(arrays, 2)), read_pickle, (ArrayFileError,)
        ),
        "pickle (protocol 0)": Reader(
            "a.pkl", lambda p: p.write_bytes(pickle.dumps(arrays, 0)), read_pickle, (ArrayFileError,)
        ),
        "npy": Reader("a.npy", lambda p: np.save(p, arrays["mean"]), read_npy, (ArrayFileError,)),
        "npz": Reader(
            "a.npz",
            lambda p: save_npz(p, a=np.ones((3, 4)), b=np.arange(3)),
            read_npz,
            (ArrayFileError,),
            True,
        ),
        "features": Reader(
            "a.npy", lambda p: np.save(p, np.ones((40, 9))), read_feature_file, (SpeechError,)
        ),
        "embeddings (npz)": Reader("t.npz", table.save, load_table, (EmbeddingError,), True),
        "embeddings (parquet)": Reader("t.parquet", table.save, load_table, (EmbeddingError,), True),
        "embeddings (arrow)": Reader("t.arrow", table.save, load_table, (EmbeddingError,), True),
        "embeddings (parquet of others)": Reader(
            "t.parquet", lambda p: pyarrow.parquet.write_table(foreign, p), load_table, (EmbeddingError,)
        ),
        "embeddings (arrow of others)": Reader("t.arrow", write_arrow, load_table, (EmbeddingError,)),
        "part of embeddings": Reader(
            "p.parquet",
            lambda p: p.write_bytes(to_parquet(to_part(part))),
            load_table,
            (EmbeddingError,),
            True,
        ),
        "index of parts": Reader(
            "parts.json",
            lambda p: p.write_bytes(format_index(["a.parquet", "b.parquet"], "f1", 4, "")),
            lambda p: list_parts(p.parent),
            (EmbeddingError,),
        ),
        "gallery": Reader(
            "gallery.json",
            lambda p: write_index(p.parent, GalleryFacts("exact", 4, "f1", "face"), segments=[], removed=[]),
            lambda p: open_gallery(p.parent).facts,
            (GalleryError,),
        ),
        "gallery (array)": Reader(
            "0f.offsets.npy", lambda p: np.save(p, np.arange(7)), open_gallery_array, (GalleryError,), True
        ),
        "list": Reader("match_v2f_2_x.txt", text(match), read_trial_list, (TrialListError,)),
        "list (gzip)": Reader(
            "match_v2f_2_x.txt.gz",
            lambda p: p.write_bytes(gzip.compress(match.encode(), mtime=0)),
            read_trial_list,
            (TrialListError,),
        ),
        "identities": Reader(
            "vox1_test.csv",
            text(f"VoxCeleb1_ID,VGGFace1_ID,Gender,Nationality,Set\n{people}"),
            read_identity_csv,
            (IdentityError,),
        ),
        "meta table": Reader(
            "vox1_meta.csv",
            text("VoxCeleb1 ID\tVGGFace1 ID\tGender\tNationality\tSet\n" + people.replace(",", "\t")),
            lambda p: (read_vox1_meta(p), read_metadata(p, "vox1")),
            (IdentityError,),
        ),
        "splits": Reader(
            "identity_splits.txt", text("Ann 1\nBo 2 \nCy 4\n"), read_identity_splits, (IdentityError,)
        ),
        "manifest": Reader("manifest.csv", text(manifest), read_manifest, (IdentityError,)),
        "avspeech": Reader(
            "avspeech.csv",
            text("abcdefghijk,1.0,4.5,0.5,0.25\nABCDEFGHIJK,0.0,3.0,0.1,0.9\n"),
            lambda p: list(read_segments(p)),
            (AvspeechError,),
        ),
        "training table": Reader(
            "training.csv",
            lambda p: write_training_table(
                p, [TrainingVideo("Ann", "1", "id1", "f", "USA", "dev", "v1")] * 3
            ),
            read_training_table,
            (PrototypeRetrievalError,),
        ),
        "split": Reader(
            "split.json",
            text(json.dumps({"vox1": {"train": ["A"], "val": ["B"], "test": []}})),
            read_split,
            (IdentityError,),
        ),
        "json": Reader(
            "results.json",
            text(json.dumps(config)),
            lambda p: read_json(p, IdentityError, "results"),
            (IdentityError,),
        ),
        "yaml": Reader(
            "a.yaml", text(yaml.safe_dump(config) + "b: &a {x: 1}\nc: *a\n"), read_yaml, (ConfigError,)
        ),
        "mesh (obj)": Reader("a.obj", lambda p: write_mesh(p, coloured), read_mesh, (MeshError,)),
        "mesh (ply)": Reader("a.ply", lambda p: write_mesh(p, coloured), read_mesh, (MeshError,)),
        "mesh (ply, text)": Reader(
            "a.ply",
            lambda p: write_ply(p, mesh.vertices, mesh.triangles, binary=False),
            read_mesh,
            (MeshError,),
        ),
        "mesh (xyz)": Reader("a.xyz", lambda p: write_mesh(p, mesh), read_mesh, (MeshError,)),
        "mesh (off)": Reader("a.off", lambda p: write_mesh(p, mesh), read_mesh, (MeshError,)),
        "mesh (glb)": Reader("a.glb", lambda p: write_mesh(p, mesh), read_mesh, (MeshError,)),
        "matlab": Reader(
            "tri.mat",
            lambda p: savemat(p, {"tri": np.arange(1, 31).reshape(3, 10)}, do_compression=True),
            lambda p: read_matlab_array(p, "tri", FaceModelError),
            (FaceModelError,),
        ),
        "whitening": Reader(
            "param_mean_std.pkl",
            lambda p: p.write_bytes(pickle.dumps({"param_mean": np.ones(62), "param_std": np.ones(62)}, 2)),
            read_whitening,
            (ArrayFileError, FaceModelError),
        ),
        "coefficients": Reader(
            "a.npz",
            lambda p: save_npz(p, **coefficients),
            read_bfm_coefficients,
            (ArrayFileError, FaceModelError),
            True,
        ),
        "statistics": Reader(
            "inception.pkl",
            lambda p: p.write_bytes(pickle.dumps(statistics, 2)),
            load_statistics,
            (ValueError,),
        ),
    }


READERS = _build() | build_media_readers() | build_shard_readers() | build_graph_readers()
