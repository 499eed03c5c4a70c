"""Configuration, devices, seeds and processes."""
