"""What flags of several programs take, in words; imports nothing heavy."""

from voiceface.commandline import arguments

DATA_HELP = "HQ-VoxCeleb layout, population or manifest: see docs/data.md"
CHECKPOINT_HELP = f"{arguments.CHECKPOINT_HELP}, or published checkpoint"
