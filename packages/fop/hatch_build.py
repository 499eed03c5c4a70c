"""Adds the repository's own packages to the third-party dependencies of pyproject.toml."""

import os
from pathlib import Path

from hatchling.metadata.plugin.interface import MetadataHookInterface


class Siblings(MetadataHookInterface):
    """Point at the sibling's folder in a checkout; pin its version in a release."""

    def update(self, metadata: dict) -> None:
        repo = Path(self.root).parents[1]

        def requirement(name: str, folder: str) -> str:
            in_checkout = (repo / folder / "pyproject.toml").is_file()
            if in_checkout and "VOICEFACE_RELEASE" not in os.environ:
                return f"{name} @ {(repo / folder).as_uri()}"
            return f"{name}=={metadata['version']}"

        siblings = [requirement(*item) for item in self.config["siblings"].items()]
        metadata["dependencies"] = siblings + self.config["dependencies"]
