"""What systems share that put voices and faces into one space: settings, branches, data, use, evaluation.

config, networks     what a run can be told, and the parts of both branches
data, validation     who is trained on and asked about, and judging a model during training
starting             what a run starts from, its optimiser and schedule, the flags of `train`
trunks               published files: the two trunks, and what whole checkpoints have in common
published_yaml       published configurations, translated by each system's tables
embedder             a trained model with its front ends, read from any weights file
embed, match, evaluation, demonstration, bundle      the commands, told which system they serve
"""
