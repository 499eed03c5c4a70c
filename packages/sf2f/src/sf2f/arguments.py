"""What flags of several programs take, in words; imports nothing heavy."""

from voiceface.commandline import arguments

DATA = "HQ-VoxCeleb layout, population or manifest: see docs/data.md"
WEIGHTS = f"{arguments.OURS}, or published checkpoint"
