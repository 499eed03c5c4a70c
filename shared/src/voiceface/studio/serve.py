"""`voiceface serve`: the studio, a page in the browser in which a voice finds its face."""

import argparse
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from voiceface.commandline.arguments import add_device_argument, data_folder
from voiceface.io.file_kinds import printable
from voiceface.studio.settings import StudioSettings, is_loopback

if TYPE_CHECKING:
    from voiceface.studio.service import Studio

__all__ = ["build_parser", "main", "require_web", "serve_studio"]

PACKAGES = {"fastapi": "fastapi", "uvicorn": "uvicorn", "python_multipart": "python-multipart"}


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until Ctrl-C."""
    args = build_parser().parse_args(argv)
    settings = _read_settings(args)
    if args.write is not None:
        return _write_folder(args, settings)
    if args.node_modules is not None:
        raise ValueError("--node-modules belongs to --write")
    require_web()
    from voiceface.studio.service import Studio, select_systems

    systems = select_systems(settings)
    if not systems.found:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in systems.unavailable.items())
        raise ValueError(f"no system can be used ({reasons}); install one: pip install ./packages/sf2f")
    return serve_studio(Studio(settings, systems))


def _write_folder(args: argparse.Namespace, settings: StudioSettings) -> int:
    """Write the studio as a folder of files that needs no server of ours."""
    from voiceface.studio.static_folder import NODE_PACKAGES, write_static_folder

    if args.node_modules is None:
        raise ValueError(
            "--write needs --node-modules FOLDER/node_modules, after npm install --prefix FOLDER "
            f"{' '.join(NODE_PACKAGES)}"
        )
    from voiceface.studio.service import select_systems

    facts = write_static_folder(
        args.write,
        select_systems(settings),
        node_modules=args.node_modules,
        cache=settings.cache,
        weights=settings.weights,
        num_people=settings.num_people,
        device=settings.device,
    )
    size = sum(path.stat().st_size for path in args.write.rglob("*") if path.is_file())
    names = ", ".join(each["name"] for each in facts["systems"])
    print(f"{args.write}: {names}; {size / 1e6:.1f} MB")
    print(f"Any web server can serve it: python -m http.server --bind 127.0.0.1 --directory {args.write}")
    return 0


def serve_studio(studio: "Studio") -> int:
    """Serve until Ctrl-C, then remove what was sent.

    Raises:
        OSError: the port cannot be used.
    """
    import socket

    import uvicorn

    from voiceface.studio.app import build_app
    from voiceface.studio.connections import BoundedConnection

    settings = studio.settings
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.port))
        listener.listen(512)  # who calls before the server is ready waits
    except OSError as error:
        studio.close()
        listener.close()
        raise OSError(
            f"port {settings.port} of {settings.host} cannot be used ({error.strerror}); choose another "
            "--port"
        ) from None
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    address = f"http://{host}:{listener.getsockname()[1]}"
    print(f"voiceface studio: {address}{f'/?token={settings.token}' if settings.token else ''}", flush=True)
    for name, reason in studio.systems.unavailable.items():
        print(f"  without {name}: {reason}", flush=True)
    if is_loopback(settings.host):
        print("Everything stays on this machine. Ctrl-C ends it and deletes what was sent.", flush=True)
    else:
        print("Everybody who knows the token can use it, unencrypted; a microphone needs https.", flush=True)
    config = uvicorn.Config(
        build_app(studio),
        http=BoundedConnection,
        ws="none",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=20,
        timeout_graceful_shutdown=3,
        limit_concurrency=512,
        h11_max_incomplete_event_size=32 * 1024,
    )
    server = uvicorn.Server(config)
    try:
        server.run(sockets=[listener])
    finally:
        studio.close()
        listener.close()
    return 0


def require_web() -> None:
    """Check that the packages of the extra `web` are installed.

    Raises:
        ModuleNotFoundError: one is missing; says how to get it.
    """
    missing = [name for module, name in PACKAGES.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise ModuleNotFoundError(
            f"the studio needs {', '.join(missing)}: pip install 'voiceface-shared[web]' (in a checkout: pip "
            'install "./shared[web]")'
        )


def _read_settings(args: argparse.Namespace) -> StudioSettings:
    from voiceface.suite.report import parse_checkpoints

    given = {"--gallery": [args.gallery], "--data": [args.data], "--results": args.results}
    for flag, folders in given.items():
        for folder in folders:
            if folder is not None and not folder.is_dir():
                raise FileNotFoundError(f"{flag}: no folder at {printable(folder)}")
    if not 0 <= args.port <= 65535:
        raise ValueError(f"--port {args.port}: expected 0 to 65535 (0: any free one)")
    if args.people is None:
        args.people = 48 if args.write is None else 16
    if not 2 <= args.people <= 193:
        raise ValueError(f"--people {args.people}: expected 2 to 193")
    cache = args.cache
    if cache is None:
        from voiceface.real.installation import models_directory

        cache = models_directory().parent / "studio"
    return StudioSettings(
        host=args.host,
        port=args.port,
        token=args.token,
        systems=tuple(args.systems or ()),
        weights=parse_checkpoints(args.weights),
        gallery=args.gallery,
        results=tuple(args.results),
        data=args.data,
        cache=cache,
        num_people=args.people,
        device=args.device,
    )


def build_parser() -> argparse.ArgumentParser:
    """Build the argument parser of `voiceface serve`."""
    parser = argparse.ArgumentParser(
        prog="voiceface serve",
        description="Open the studio: a page in the browser in which every installed system answers a voice "
        "or a face, and the same as an HTTP API (address /docs). Nothing leaves this machine.",
    )
    add = parser.add_argument
    add("--port", type=int, default=8000, help="port; 0: any free one (default: %(default)s)")
    add("--host", default="127.0.0.1", help="address to listen at; another than this one needs --token")
    add("--token", default="", metavar="TEXT", help="that every call must carry, 16 letters or more")
    add("--systems", nargs="+", metavar="NAME", help="systems to show (default: all installed ones)")
    add(
        "--weights",
        nargs="+",
        default=[],
        metavar="NAME=PATH",
        help="checkpoint or run folder of a system (default: the bundled checkpoint)",
    )
    add("--gallery", type=Path, metavar="FOLDER", help="your own pictures and recordings, to be ranked")
    add(
        "--results",
        type=Path,
        nargs="+",
        default=[],
        metavar="FOLDER",
        help="folders of evaluations to compare, as `SYSTEM test --out` writes them",
    )
    add("--data", type=data_folder, help="data folder of these evaluations, to look at faces and hear voices")
    add("--people", type=int, help="invented people at hand, 2 to 193 (default: 48; with --write 16)")
    add("--cache", type=Path, help="folder for invented people and embeddings (default: the user's cache)")
    add(
        "--write",
        type=Path,
        metavar="FOLDER",
        help="serve nothing: write the page with all networks, which then run in the visitor's browser, as a "
        "folder that any web server can serve; needs --node-modules",
    )
    add(
        "--node-modules",
        type=Path,
        metavar="FOLDER",
        help="with --write: folder in which npm has installed onnxruntime-web and @echogarden/fvad-wasm",
    )
    add_device_argument(parser)
    return parser


if __name__ == "__main__":
    from voiceface.commandline.dispatch import run_main

    raise SystemExit(run_main("voiceface.studio.serve", None))
