"""All installed systems on the same identities: plugins of the packages, `demo` and `report`.

`voiceface demo` and `voiceface report` find the systems that are installed through the entry points of the
group `voiceface.systems` (see `voiceface.suite.plugins`); the shared package imports none of them.
"""
