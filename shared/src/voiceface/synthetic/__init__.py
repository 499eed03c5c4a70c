"""A synthetic population: invented people with voices, faces and the factors that tie the two together.

people draws identities, presets names the sets, voice and render make clips and pictures,
oracle knows the ceilings.
"""
