"""The kinds of training: expert, speaker, supervised head and unsupervised cascade."""
