"""`voicestyle COMMAND ...`, the same as `python -m voicestyle.COMMAND ...`."""

from collections.abc import Sequence

from voiceface.commandline.dispatch import dispatch

__all__ = ["COMMANDS", "main"]

COMMANDS: dict[str, tuple[str, str]] = {
    "generate": ("voicestyle.generate", "generate faces from voices by the images of a face bank"),
    "invert": ("voicestyle.invert", "find latents that reproduce given images"),
    "train": ("voicestyle.train", "train CMPC and StyleGAN2, all that generation needs"),
    "test": ("voicestyle.test", "generate faces of test identities and compare them with the real ones"),
    "train-stylegan": ("voicestyle.train_stylegan", "train StyleGAN2 on images or on synthetic faces"),
    "export": ("voicestyle.export", "export mapping and synthesis of StyleGAN2 as ONNX files"),
    "fid": ("voicestyle.fid", "compute the Fréchet distance of generated and real images"),
    "ppl": ("voicestyle.ppl", "compute the perceptual path length of a generator"),
    "factorise": ("voicestyle.factorise", "find directions of the latent space and images along them"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command."""
    return dispatch("voicestyle", COMMANDS, argv)


if __name__ == "__main__":
    raise SystemExit(main())
