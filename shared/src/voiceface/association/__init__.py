"""Shared parts of systems that embed voices and faces into one space.

system, commands     record of a system, from which its commands, demo and plug-in are built
trainer              training loop and `train` command; initialisation, validation: its parts
config, encoders     typed configuration; encoders of both modalities (encoder_config: their configuration)
data                 training sets and trial lists of a corpus or a synthetic population
embedder, loading    a trained model with its front ends, loaded from any checkpoint
embedding, match, evaluation, demo    work of the commands `embed`, `match`, `test` and `demo`
retrieval, stored_gallery    rank files, or a stored gallery
pretrained_backbones, published_config    published checkpoints and configurations
"""
