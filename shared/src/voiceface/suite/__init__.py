"""All systems on the same identities: what a package offers for it, the demo, the report on one's own files.

`voiceface demo` and `voiceface report` find the systems that are installed through the entry points of the
group `voiceface.systems` (see `voiceface.suite.plugins`); the shared package imports none of them.
"""
