"""StyleGAN2 in plain PyTorch: networks, losses, training, readers of published files."""
