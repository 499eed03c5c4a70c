"""Speed of exported graphs beside PyTorch, one thread, and the time of the exports.

    python benchmarks/onnx_export.py
    python benchmarks/onnx_export.py --systems seeking_shape --published

The bundled weights of every system, or networks of the published sizes with random weights (`--published`,
seeking_shape and cmpc2). Both compute the same from waveforms of 5 s, or from pictures: front end and network
by the program, and the graph by onnxruntime. Measurements alternate; ratios are of the smallest processor
times. "one" is one input at a time, as a studio asks for it, and "of 8" the time for each of eight: PyTorch
in one batch, the graph as `embed --onnx` runs it. "any length" and "5 s" are the graphs with a free and with
a fixed length. fop needs `voiceface models get real`, and is left out without it.
"""

import argparse
import importlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from voiceface.association.onnx_embedder import BATCH_SIZES
from voiceface.export.graph import Graph
from voiceface.export.running import OnnxGraph, open_graph
from voiceface.export.writing import export_graph
from voiceface.real.installation import MissingModelError

ASSOCIATION = ("seeking_shape", "archetype_agnostic", "cmpc2", "fop")
SYSTEMS = (*ASSOCIATION, "sf2f", "perceptionist", "voicestyle")
SECONDS = 5.0
MANY = 8


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; exit code 1 if a graph is slower than PyTorch for one input at a time."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=SYSTEMS, help="default: all")
    parser.add_argument("--published", action="store_true", help="random networks of the published sizes")
    parser.add_argument("--repeats", type=int, default=12, help="measurements of each; the best counts")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    print(f"{'graph':42}{'MB':>7}{'export s':>9}{'error':>9}{'one ms':>8}{'x':>6}{'of 8 ms':>9}{'x':>6}")
    slower = False
    with tempfile.TemporaryDirectory() as folder:
        for system in args.systems:
            try:
                for name, graph in build_graphs(system, args.published):
                    slower |= measure(f"{system}, {name}", graph, Path(folder), args.repeats)
            except MissingModelError as error:
                print(f"{system}: left out, {error}")
    return int(slower)


def build_graphs(system: str, published: bool) -> Iterator[tuple[str, Graph]]:
    """Graphs of a system and their names."""
    if system in ASSOCIATION:
        from voiceface.association.loading import load_embedder

        spec = importlib.import_module(f"{system}.system").SPEC
        model = build_published(system, spec) if published else load_embedder(spec)
        graphs = spec.resolve("graphs")(spec, model, seconds=[SECONDS])
    elif published:
        return
    elif system == "sf2f":
        from sf2f.export import build_graph
        from sf2f.models import load

        graphs = {"voice to image": build_graph(load(None))}
    elif system == "perceptionist":
        from perceptionist import load as load_perceptionist
        from perceptionist.export import build_graphs as build

        graphs = build(load_perceptionist(), seconds=[SECONDS])
    else:
        from voicestyle.export import build_graphs as build_stylegan
        from voicestyle.stylegan2.bundled import open_generator

        graphs = build_stylegan(open_generator())
    names = {"voice": "voice, any length", f"voice_{SECONDS:g}s": f"voice, {SECONDS:g} s"}
    for name, graph in graphs.items():
        yield names.get(name, name), graph


def build_published(system: str, spec: Any) -> Any:
    """A model of the published size with random weights; its batch norms have seen noise."""
    from voiceface.runtime.config import load_config

    if system not in ("seeking_shape", "cmpc2"):
        raise SystemExit(f"--published: seeking_shape and cmpc2, found {system}")
    torch.manual_seed(0)
    config = load_config("main", spec.resolve("config"), system, []).with_input_options(resample=True)
    if system == "seeking_shape":
        from seeking_shape.model import Voice2Face

        network: Any = Voice2Face(config.model, 10)
    else:
        from cmpc2.model import FV_Wrapper

        network = FV_Wrapper(config=config.model, voice_frontend=config.data.voice)
    return spec.resolve("embedder")(network, config, source="random")


def measure(title: str, graph: Graph, folder: Path, repeats: int) -> bool:
    """Export a graph, print its line; whether it is slower than PyTorch for one input."""
    start = time.process_time()
    result = export_graph(graph, folder / "graph.onnx")
    seconds = time.process_time() - start
    run = open_graph(result.path, threads=1)
    line = f"{title:42}{result.size_bytes / 1e6:7.1f}{seconds:9.1f}{result.max_error:9.0e}"
    ratios = []
    for count in (1, MANY):
        inputs = make_inputs(graph, count)
        if inputs is None:
            break
        step = BATCH_SIZES.get(graph.kind, MANY)
        ours, theirs = measure_both(graph.reference, run, inputs, step, repeats)
        ratios.append(theirs / ours)
        line += f"{ours / count * 1e3:{8 if count == 1 else 9}.2f}{ratios[-1]:6.2f}"
    print(line, flush=True)
    return ratios[0] < 1


def make_inputs(graph: Graph, count: int) -> list[np.ndarray] | None:
    """Inputs of a graph, `count` of them, voices of five seconds; None: it takes one at a time."""
    from voiceface.export.graph import example_voices

    example = list(graph.examples[0])
    if graph.inputs[0].name == "samples":
        example = [example_voices([int(SECONDS * 16_000)])[0] * (example[0].max() / 20_000)]
        example = [np.float32(example[0])]
        if example[0].max() > 2:
            example = [np.rint(example[0])]
    found = []
    for port, array in zip(graph.inputs, example, strict=True):
        if port.shape[0] == "N":
            found.append(np.repeat(array[:1], count, 0))
        elif count > 1 and port.name == "samples":
            return None
        else:
            found.append(array)
    return found


def measure_both(
    reference: Callable[..., Any], run: OnnxGraph, inputs: list[np.ndarray], step: int, repeats: int
) -> tuple[float, float]:
    """Smallest processor times of the graph and of PyTorch, in turns."""
    count = len(inputs[0])

    def graph() -> None:
        for at in range(0, count, step):
            run(*(array[at : at + step] if len(array) == count else array for array in inputs))

    best = [float("inf"), float("inf")]
    for _ in range(repeats):
        for number, call in enumerate((graph, lambda: reference(*inputs))):
            start = time.process_time()
            with torch.inference_mode():
                call()
            best[number] = min(best[number], time.process_time() - start)
    return best[0], best[1]


if __name__ == "__main__":
    sys.exit(main())
