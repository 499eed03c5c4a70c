"""What flags of several programs take, in words; imports nothing heavy."""

from voiceface import flags

DATA = "HQ-VoxCeleb layout, population or manifest: see docs/data.md"
WEIGHTS = f"{flags.OURS}, or published checkpoint"
