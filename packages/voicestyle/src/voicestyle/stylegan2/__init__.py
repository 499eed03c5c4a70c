"""StyleGAN2 (Karras et al., CVPR 2020) in plain PyTorch: networks, losses, training, checkpoints."""
