"""Page and JSON file of `voiceface report`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from voiceface.report.records import Photograph
    from voiceface.suite.inference import SystemOutputs
    from voiceface.suite.plugins import SystemSet
    from voiceface.suite.user_media import MediaSet

__all__ = ["build_record", "find_true_faces", "write_report_page"]

BUNDLED_MODEL_WARNING = (
    "The bundled checkpoints were trained on synthetic identities only. Their outputs for real recordings "
    "demonstrate the pipeline and say nothing about any person. Do not use them to identify or assess anyone."
)


def write_report_page(
    html_file: Path,
    json_file: Path,
    media: "MediaSet",
    outputs: "SystemOutputs",
    systems: "SystemSet",
    card_rows: Sequence[int],
    *,
    bundled: set[str],
    commands: Sequence[str] = (),
) -> None:
    """Write the page and its JSON file.

    Args:
        html_file, json_file: output files.
        media: the recordings and images.
        outputs: outputs of all systems.
        systems: the systems.
        card_rows: rows of the voices that get a card.
        bundled: systems that use their bundled checkpoints.
        commands: shell lines that reproduce the page.
    """
    from voiceface.io.atomic import write_json
    from voiceface.report import build_report, collect_environment
    from voiceface.suite import sections
    from voiceface.suite.cards import build_system_cards
    from voiceface.suite.scoring import compare_matching, compute_matching_metrics

    voice_identities = [utterance.identity for utterance in media.utterances]
    face_identities = [entry.identity for entry in media.gallery]
    known = {*voice_identities, *face_identities} - {""}
    metrics, differences = {}, {}
    if media.has_labels:
        for name, scores in outputs.scores.items():
            if result := compute_matching_metrics(scores, voice_identities, face_identities):
                metrics[name] = result
        if len(metrics) > 1:
            usable = {name: outputs.scores[name] for name in metrics}
            differences = compare_matching(usable, voice_identities, face_identities)
    failures: dict[str, Mapping[str, str]] = {
        file: {"all": reason} for file, reason in media.failures.items()
    }
    failures |= {str(item.path): {"all": item.reason} for item in media.left_out}
    failures |= {file: each for file, each in outputs.failures.items() if file not in failures}
    skipped = sections.build_skipped_table(failures, media.relative_paths)
    summary = list(sections.summarise_matching(metrics, differences))
    if media.gallery and not media.has_labels:
        summary = [sections.STORED_GALLERY_NOTE if outputs.gallery_sizes else sections.NO_LABELS_NOTE]
    if skipped:
        summary.append(
            f"{len(skipped.rows)} files could not be used by every system: see the table “Skipped files”."
        )
    hint = (
        f"{len(card_rows)} of {len(media.utterances)} recordings; every system receives the recording that "
        "you can play; some use a part of it."
    )
    if outputs.gallery_sizes:
        hint += f" Faces are the best of stored galleries ({describe_sizes(outputs)}); "
        hint += "the number below a face is its cosine similarity."
    elif media.gallery:
        several = any(len(face.files) > 1 for face in media.gallery)
        kind = (
            "identities (mean embedding of their images; the first image is shown)" if several else "images"
        )
        hint += f" Faces are ranked in a gallery of {len(media.gallery)} {kind}; "
        hint += "the number below a face is its cosine similarity."
    disclaimers = [BUNDLED_MODEL_WARNING] if bundled else []
    disclaimers += [text for text in outputs.disclaimers if text not in disclaimers]
    write_json(json_file, build_record(media, outputs, metrics, differences, failures))
    build_report(
        html_file,
        title="Voices and faces",
        kicker="voiceface report",
        subtitle=f"Outputs of {len(systems.found)} systems for {len(media.utterances)} recordings"
        + (
            f" and {sum(len(face.files) for face in media.gallery)} images."
            if media.gallery and not outputs.gallery_sizes
            else "."
        ),
        facts={
            "recordings": len(media.utterances),
            **({"gallery": describe_sizes(outputs) or len(media.gallery)} if media.gallery else {}),
            "identity labels": "from the folder names" if media.has_labels else "not available",
        },
        disclaimers=disclaimers,
        summary=summary,
        headlines=sections.matching_headlines(metrics),
        system_cards=build_system_cards(
            outputs,
            media.utterances,
            media.gallery,
            card_rows,
            system_names=[system.name for system in systems.found],
            true_faces=find_true_faces(media) if media.has_labels else None,
        ),
        cards_title="Voices",
        cards_hint=hint,
        system_tables=[
            sections.build_systems_table(systems, outputs, sorted(known), dict.fromkeys(bundled, "bundled"))
        ],
        differences=sections.matching_differences(metrics, differences),
        tables=[skipped] if skipped else [],
        responsible_use=sections.RESPONSIBLE_USE,
        environment=collect_environment(),
        commands=commands,
        max_bytes=18_000_000,
    )


def describe_sizes(outputs: "SystemOutputs") -> str:
    """Sizes of stored galleries in words; empty if there are none."""
    return ", ".join(f"{name}: {size:,}" for name, size in outputs.gallery_sizes.items())


def find_true_faces(media: "MediaSet") -> "list[Photograph | None]":
    """An image of each speaker, if the folder names give the identity."""
    from voiceface.report.records import Photograph

    first: dict[str, Photograph] = {}
    for face in media.gallery:
        if face.identity:
            found = media.faces.get(face.items[0])
            first.setdefault(face.identity, Photograph(face.files[0], found.facts.face if found else None))
    return [first.get(voice.identity) if voice.identity else None for voice in media.utterances]


def build_record(
    media: "MediaSet",
    outputs: "SystemOutputs",
    metrics: Mapping[str, Any],
    differences: Mapping[str, Any],
    failures: Mapping[str, Mapping[str, str]],
) -> dict[str, Any]:
    """Rankings and metrics as plain values."""
    import numpy as np

    from voiceface.io.own_files import describe_left_out

    rankings: dict[str, Any] = {}
    for name, table in outputs.scores.items():
        rankings[name] = {}
        shares = outputs.percentiles.get(name)
        for number, (voice, row) in enumerate(zip(media.utterances, table)):
            order = np.flatnonzero(np.isfinite(row))
            order = order[np.argsort(-row[order], kind="stable")]
            rankings[name][voice.name] = [
                {
                    "name": media.gallery[at].name,
                    "score": round(float(row[at]), 6),
                    "percentile": None if shares is None else round(float(shares[number, at]), 6),
                }
                for at in order
            ]
    return {
        "format": "voiceface-report-2",
        "disclaimers": outputs.disclaimers,
        "checkpoints": outputs.checkpoint_sources,
        "percentiles": {name: known.describe() for name, known in outputs.impostor_scores.items()},
        "paired_identities": sorted(media.paired_identities),
        "metrics": {name: asdict(each) for name, each in metrics.items()},
        "differences": {name: asdict(gap) for name, gap in differences.items()},
        "rankings": rankings,
        "gallery_sizes": outputs.gallery_sizes,
        "files": {
            name: {_relative_name(item, each.file, media): each.to_values() for item, each in known.items()}
            for name, known in outputs.facts.items()
        },
        "recordings": {
            media.relative_paths.get(str(Path(item)), item): known.to_values()
            for item, known in media.recordings.items()
        },
        "left_out": describe_left_out(media.left_out),
        "skipped": {media.relative_paths.get(file, file): dict(each) for file, each in failures.items()},
    }


def _relative_name(item: str, file: str, media: "MediaSet") -> str:
    """Name of an item with the path of its file relative to the given folder."""
    return item.replace(Path(file).as_posix(), media.relative_paths.get(file, file), 1)
