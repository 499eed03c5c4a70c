"""Parity of the complete evaluation: from files through readers and network to metrics."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from parity.case import Array, Case, ComparisonLog
from parity.seeking_shape_metrics import compute_metric, write_lists
from seeking_shape.config import SeekingShapeConfig
from seeking_shape.model import Voice2Face
from seeking_shape.published import infer_model_config
from torch import Tensor
from voiceface.association.embedder import Embedder, encode_grouped
from voiceface.audio.loading import write_wav
from voiceface.checkpoints.native import load_into
from voiceface.datasets.corpus import Corpus, open_corpus
from voiceface.datasets.trials.reading import read_trial_list
from voiceface.datasets.trials.trial_list import identity_indices


def evaluation_end_to_end(case: Case, log: ComparisonLog) -> None:
    """Write images, recordings, tables and lists as users have them, and run the evaluation on them."""
    meta = case.meta
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        lists = write_files(case, root)
        corpus = open_corpus(root, "test")
        embedder = build_embedder(case)
        vectors = embed(corpus, embedder)
        for item, vector in vectors.items():
            compare_embedding(case, log, item, vector)

        def features(items: Sequence[str]) -> Tensor:
            return torch.stack([vectors[item] for item in items])

        def owners(items: list[str]) -> Array:
            return identity_indices(items, corpus)

        lines = []
        for name, path in lists.items():
            figure, detail = compute_metric(read_trial_list(path, corpus), features, owners)
            lines.append(f"{name} {figure!r}")
            if name in meta.get("scores", {}):
                known = case.tolerance("scores", atol=2e-3)
                log.compare_close(f"scores of {name}", detail.flatten(), meta["scores"][name], **known)
    expected = [line.rsplit(" ", 1) for line in meta["result_lines"]]
    found = [line.rsplit(" ", 1) for line in lines]
    log.compare_equal(
        "names of the result lines", [line[0] for line in found], [line[0] for line in expected]
    )
    atol = meta.get("tolerance", {}).get("result_lines", {}).get("values", {}).get("atol", 1e-6)
    values = ([float(line[1]) for line in rows] for rows in (found, expected))
    log.compare_close("values of the result lines", *values, atol=atol)
    store = meta.get("feature_store", {})
    if "name2id" in store:
        log.compare_equal(
            "name2id", {item: corpus.get_identity_index(item) for item in vectors}, store["name2id"]
        )
    if "name2gender" in store:
        genders = {item: corpus.records[corpus.get_identity_index(item)].identity.gender for item in vectors}
        log.compare_equal("name2gender", genders, store["name2gender"])


def write_files(case: Case, root: Path) -> dict[str, Path]:
    """Write the data directory of the case; return the paths of its lists by name."""
    folder = root / "list_wav"
    paths = write_lists(folder, case.meta["lists"])
    (folder / "vox1_test.csv").write_bytes(
        case.meta["csv"].replace("\r\n", "\n").replace("\n", "\r\n").encode()
    )
    for key, value in case.arrays.items():
        kind, _, item = key.partition(":")
        path = root / {"jpg": "VGG_ALL_FRONTAL", "wav": "wav"}.get(kind, "") / item
        if kind == "jpg":
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(value.tobytes())
        elif kind == "wav":
            path.parent.mkdir(parents=True, exist_ok=True)
            write_wav(path, value)
    return paths


def build_embedder(case: Case) -> Embedder:
    """Build the network with the case's weights and the readers of the evaluation."""
    state = case.filled_weights()
    kept = {key: torch.empty(shape) for key, shape in case.meta.get("layout_kept", {}).items()}
    architecture = infer_model_config({**kept, **state})
    model = Voice2Face(architecture)
    load_into(model, state, ignore=["normalize.*", "center.*", "V.model.torchfb.*"])
    config = SeekingShapeConfig(name=case.name, model=architecture)
    return Embedder(model, config)


def embed(corpus: Corpus, embedder: Embedder) -> dict[str, Tensor]:
    """Embed every clip and image, read as data folders are; return embeddings by path."""
    found: dict[str, Tensor] = {}
    for modality, items in (("v", corpus.voices), ("f", corpus.faces)):
        load, encode, batch_size, get_path = embedder.modality_io(modality, corpus)
        out = torch.empty(len(items), embedder.embedding_dim)
        rows = encode_grouped([get_path(item) for item in items], load, encode, batch_size, out)
        found |= dict(zip(items, rows))
    return found


def compare_embedding(case: Case, log: ComparisonLog, item: str, vector: Tensor) -> None:
    """Compare voices by value, faces by direction (JPEG decoders may differ by a grey level)."""
    theirs = case.arrays.get(f"feat:{item}")
    if theirs is None:
        log.compare_equal(f"feat:{item}", "absent", "present")
    elif f"wav:{item}" in case.arrays:
        log.compare_close(
            f"feat:{item}", vector, theirs, **case.tolerance("embedding_voice", atol=5e-4, rtol=2e-3)
        )
    else:
        ours = vector.double().numpy()
        cosine = ours @ theirs / (np.linalg.norm(ours) * np.linalg.norm(theirs))
        log.compare_limit(f"feat:{item}, 1 - cosine", 1 - float(cosine), 1e-4)
