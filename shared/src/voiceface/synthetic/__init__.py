"""A synthetic population: synthetic identities with voices, faces and the factors that tie the two together.

identities draws identities, presets names the sets, voice and render make clips and images, oracle knows the
ceilings.
"""
