"""Images and heads of `voiceface demo`, generated in steps: also while trainings leave a core free."""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voiceface.suite.demo_data import DemoData, build_utterances, choose_card_rows
from voiceface.suite.inference import SystemOutputs
from voiceface.suite.plugins import ImageSystem, MeshSystem, SystemSet

if TYPE_CHECKING:
    from voiceface.metrics.geometry import ErrorComparison
    from voiceface.suite.scoring import GroundTruthHeads
    from voiceface.synthetic.agreement.result import Agreement

__all__ = ["GeneratedResults", "Generation"]


@dataclass
class GeneratedResults:
    """Evaluation of generated images and heads.

    Attributes:
        card_rows: rows of the voices that get a card on the page.
        agreements: image system -> agreement of its images with the ground truth.
        mesh_errors: mesh system -> errors of its heads.
        num_heads: mesh system -> number of heads behind the errors.
    """

    card_rows: list[int] = field(default_factory=list)
    agreements: "dict[str, Agreement]" = field(default_factory=dict)
    mesh_errors: "dict[str, ErrorComparison]" = field(default_factory=dict)
    num_heads: dict[str, int] = field(default_factory=dict)


class Generation:
    """Generates images and heads from the first utterance of every identity; compares them with the truth.

    Attributes:
        models: loaded models by name, empty before `load`.
        unavailable: system -> reason why it is not among them.
        outputs: receives images, meshes and what the models say about themselves.
        results: evaluation of what was generated.
    """

    def __init__(
        self, systems: SystemSet, data: DemoData, *, bank: Sequence[Path] = (), device: str = "cpu"
    ) -> None:
        """Remember what is to be done; nothing is loaded yet.

        Args:
            systems: the systems with bundled checkpoints, association systems too: the identities that they
                were trained on get no card. An image system that is not fast generates images for the voices
                on the cards only.
            data: the identities.
            bank: images from which generators may start.
            device: device of the networks.
        """
        self.systems, self.data, self.bank, self.device = systems, data, bank, device
        self.models: dict[str, Any] = {}
        self.unavailable: dict[str, str] = {}
        self.outputs, self.results = SystemOutputs(), GeneratedResults()
        self._loaded = False
        self._steps = self._generate()

    def load(self) -> None:
        """Load the systems, unless they are loaded, and choose the voices that get a card."""
        from voiceface.suite.inference import load_systems

        if self._loaded:
            return
        self.models, ready = load_systems(
            self.systems, {}, device=self.device, bank=self.bank, required=False
        )
        self.unavailable = ready.unavailable
        for name, model in self.models.items():
            self.outputs.record_system(name, model)
        self.results.card_rows = choose_card_rows(self.data, list(self.outputs.training_identities.values()))
        self._loaded = True

    def advance_on_one_thread(self) -> Generator[str, None, None]:
        """Load (yields an empty name), then generate one image or head a step; yield the name of its system.

        All of it runs on one thread.
        What was generated before is not generated again; the iterator can be left at any step.
        """
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            # Not `yield from`, which would close the steps with this iterator.
            while (name := next(self._steps, None)) is not None:
                yield name
        finally:
            torch.set_num_threads(before)

    def finish(self, *, one_thread: bool = False) -> GeneratedResults:
        """Generate and evaluate all that is left.

        Args:
            one_thread: as `advance_on_one_thread`, so that no result depends on how far that came.
        """
        for _ in self.advance_on_one_thread() if one_thread else self._steps:
            pass
        return self.results

    def _generate(self) -> Iterator[str]:
        """Load (yields an empty name), then generate and evaluate; yield the name of each output's system."""
        from voiceface.runtime.progress import progress_bar
        from voiceface.suite.inference import generate_images_in_steps, generate_meshes_in_steps
        from voiceface.suite.scoring import generate_ground_truth_heads

        self.load()
        yield ""
        utterances = build_utterances(self.data)
        heads = generate_ground_truth_heads(self.data.settings, self.data.ids)
        generators: list[ImageSystem | MeshSystem] = [*self.systems.image_systems, *self.systems.mesh_systems]
        progress = progress_bar(
            [each for each in generators if each.name in self.models], "generating", "system"
        )
        for system in progress:
            progress.set_postfix_str(system.name)
            model = self.models[system.name]
            if isinstance(system, ImageSystem):
                rows = None if system.is_fast else self.results.card_rows
                steps = generate_images_in_steps(self.outputs, system.name, model, utterances, rows)
            else:
                steps = generate_meshes_in_steps(self.outputs, system.name, model, utterances)
            for _ in steps:
                yield system.name
            self._evaluate(system, heads)

    def _evaluate(self, system: ImageSystem | MeshSystem, heads: "GroundTruthHeads") -> None:
        """Compare the images or heads of one system with the ground truth."""
        from voiceface.suite.scoring import compare_mesh_errors, measure_image_agreement

        if isinstance(system, ImageSystem):
            corpus = self.data.corpus
            agreement = measure_image_agreement(
                self.outputs.images[system.name],
                [[corpus.face_path(item) for item in record.faces] for record in corpus.records],
                self.data.settings,
                self.data.ids,
            )
            if agreement:
                self.results.agreements[system.name] = agreement
        elif (landmarks := self.models[system.name].landmarks) is not None:
            meshes = self.outputs.meshes[system.name]
            error = compare_mesh_errors(meshes, landmarks, heads)
            if error:
                self.results.mesh_errors[system.name] = error
                self.results.num_heads[system.name] = sum(mesh is not None for mesh in meshes)
