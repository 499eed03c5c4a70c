"""Embedder whose branches are ONNX files: it gives them waveforms and bytes, since front ends are inside."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from voiceface.association import embedder
from voiceface.association.onnx_embedder import OnnxEncoders
from voiceface.audio.channels import to_waveform
from voiceface.audio.recordings import require_sound
from voiceface.audio.vad import SpeechError
from voiceface.io.file_facts import FileFacts
from voiceface.io.file_kinds import printable

from cmpc2.audio_frontend import remove_silence
from cmpc2.embedder import Embedder
from cmpc2.image_frontend import resize_image

__all__ = ["OnnxEmbedder"]

FEATURE_SUFFIXES = (".pkl", ".npy")


class OnnxEmbedder(Embedder):
    """Voices and faces to embeddings, computed by `voiceface.association.onnx_embedder.OnnxEncoders`."""

    model: OnnxEncoders  # type: ignore[assignment]

    def read_recording(
        self, path: str | Path, **options: Any
    ) -> tuple[NDArray[np.float32], FileFacts | None]:
        """Read a person's own recording as speech at 16 kHz, (T,), 16-bit range.

        Raises:
            AudioError, SpeechError, FileNotFoundError: it cannot be used, or holds stored features.
        """
        if Path(path).suffix in FEATURE_SUFFIXES:
            raise SpeechError(
                f"{printable(path)}: stored features, but ONNX files take waveforms; give the recording, or "
                "use --weights"
            )
        return embedder.Embedder.read_recording(self, path, **options)

    def embed_recording(self, path: str | Path) -> tuple[NDArray[np.float32], FileFacts | None]:
        """Embed a person's own recording; see `voiceface.association.embedder.Embedder.embed_recording`."""
        return embedder.Embedder.embed_recording(self, path)

    def prepare_recording(self, waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        """Convert a waveform (T,) at 16 kHz, 16-bit range, to input of the graph: whole numbers, speech.

        Raises:
            SpeechError: no voice is found in it.
        """
        config = self.voice_config
        samples = np.clip(np.rint(waveform), -32768, 32767).astype(np.int16)
        require_sound(samples, "the recording")
        if config.frontend == "decibels":
            if len(samples) <= 800:
                raise SpeechError(f"the recording: {len(samples)} samples, expected more than 50 ms; skip it")
        else:
            try:
                samples = remove_silence(samples, aggressiveness=config.vad_aggressiveness)
            except SpeechError:
                if config.on_no_speech != "keep":
                    raise
        return samples.astype(np.float32)

    def _prepare_voice(self, voice: str | Path | NDArray) -> NDArray[np.float32]:
        if isinstance(voice, str | Path):
            return self.load_recording(voice)
        return self.prepare_recording(to_waveform(voice))

    def prepare_picture(self, image: Any) -> NDArray[np.float32]:
        """Convert a Pillow image, or RGB bytes (H, W, 3), to input of the graph, (3, S, S), 0...255."""
        pixels = np.asarray(image.convert("RGB") if isinstance(image, Image.Image) else image)
        resized = resize_image(pixels, self.config.model.face.image_size)
        return np.ascontiguousarray(resized.transpose(2, 0, 1), np.float32)
