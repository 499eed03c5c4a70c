"""Support for tests of several packages: small runs, interruptions, corrupt files, contracts.

Only tests import it.
"""
