"""Help texts of arguments that several commands share; imports nothing heavy."""

from voiceface.commandline import arguments

__all__ = [
    "CHECKPOINT_HELP",
    "DATA_HELP",
]

DATA_HELP = "HQ-VoxCeleb layout, population or manifest: see docs/data.md"
CHECKPOINT_HELP = f"{arguments.CHECKPOINT_HELP}, or published checkpoint"
