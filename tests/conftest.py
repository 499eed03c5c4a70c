"""Makes the modules of this folder importable in the test folders below it."""
