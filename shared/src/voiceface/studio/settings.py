"""Settings of the studio: where it listens, what it shows, what it refuses."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Limits", "StudioSettings", "is_loopback"]


@dataclass(frozen=True)
class Limits:
    """What one visitor may send.

    Attributes:
        upload_bytes: of one file.
        uploading_bytes: of all requests that are being read or used; more are refused.
        body_bytes: of another request.
        upload_seconds: until a request has been read.
        sound_seconds: of one recording.
        sound_samples: of one recording, all channels.
        pixels: of one picture.
        kept_items: recordings and pictures that are kept at the same time; the oldest one goes.
        kept_bytes: size of those; the oldest one goes.
        kept_seconds: how long one is kept without being used.
        gallery_files: pictures and recordings added to the own gallery.
        gallery_bytes: size of those.
        waiting_jobs: of one worker; more are refused.
    """

    upload_bytes: int = 32 * 2**20
    uploading_bytes: int = 256 * 2**20
    body_bytes: int = 64 * 2**10
    upload_seconds: float = 60.0
    sound_seconds: float = 120.0
    sound_samples: int = 2**26
    pixels: int = 24_000_000
    kept_items: int = 200
    kept_bytes: int = 2**30
    kept_seconds: float = 1800.0
    gallery_files: int = 1000
    gallery_bytes: int = 2 * 2**30
    waiting_jobs: int = 256


@dataclass(frozen=True)
class StudioSettings:
    """Settings of one server.

    Attributes:
        host, port: where it listens.
        token: that every call must carry; "": none, on the loopback address only.
        systems: names of the systems; empty: all that are installed.
        weights: system -> checkpoint or run folder; the others use their bundled weights.
        gallery: folder of the visitor's own pictures and recordings; None: none at the start.
        results: evaluations to look at, folders with results.json.
        data: data folder of the evaluations; None: metrics alone.
        cache: folder of invented people and of embeddings of `gallery`.
        num_people: invented people at hand.
        device: of the networks.
        limits: what is refused.

    Raises:
        ValueError: another address than the loopback without a token, or a token that is too short.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: str = ""
    systems: tuple[str, ...] = ()
    weights: Mapping[str, Path] = field(default_factory=dict)
    gallery: Path | None = None
    results: tuple[Path, ...] = ()
    data: Path | None = None
    cache: Path = Path()
    num_people: int = 48
    device: str = "cpu"
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        """Refuse an open door."""
        if not is_loopback(self.host) and not self.token:
            raise ValueError(
                f"--host {self.host} lets other machines in: give --token TEXT, too, which every visitor "
                "must know (16 letters or more), or omit --host"
            )
        if self.token and len(self.token) < 16:
            raise ValueError(f"--token has {len(self.token)} letters, expected 16 or more")
        if not self.token.isascii() or any(letter.isspace() or letter in ';,"\\' for letter in self.token):
            raise ValueError("--token: expected ASCII letters without spaces, quotes, commas and semicolons")


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine alone."""
    return host in ("127.0.0.1", "::1", "localhost")
