"""The studio: every installed system in the browser, and as an HTTP API (`voiceface serve`).

The server listens on this machine alone unless it is told otherwise, keeps what visitors send in a temporary
folder that ends with it, and computes everything by the functions behind the commands. See docs/studio.md.
"""
