"""Build a report: one HTML page with its sections in order, and style and script inside."""

import base64
import hashlib
import importlib.metadata
import platform
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from os import PathLike
from pathlib import Path
from typing import Any

from markupsafe import Markup

from voiceface.io.atomic import write_text
from voiceface.metrics.unavailable import UnavailableResult
from voiceface.report.forest_plot import forest_plot_html
from voiceface.report.formatting import STRATUM_DESCRIPTIONS, is_finite_number
from voiceface.report.gallery import identity_group_html, retrieval_examples_html
from voiceface.report.learning_curves import build_learning_curves
from voiceface.report.media import MediaEncoder
from voiceface.report.mesh_view import MeshView, meshes_html
from voiceface.report.plots import assign_colour_classes, histogram_html, line_plot_html
from voiceface.report.records import (
    Headline,
    Histogram,
    IdentityGroup,
    PairedDifferenceRow,
    Plot,
    ProtocolSummary,
    RetrievalExamples,
    SystemResults,
    Table,
)
from voiceface.report.system_card import SystemCard, system_cards_html
from voiceface.report.tables import (
    REFERENCE_FIELDS,
    differences_html,
    facts_html,
    headline_html,
    protocol_html,
    results_html,
    table_html,
    unavailable_html,
)
from voiceface.report.templating import render, render_macro

__all__ = [
    "DEFAULT_KICKER",
    "RESPONSIBLE_USE",
    "SYNTHETIC_PAGE_DISCLAIMER",
    "build_report",
    "collect_environment",
]

SYNTHETIC_PAGE_DISCLAIMER = (
    "Synthetic population: every voice and face on this page belongs to a synthetic identity. "
    "The metrics say nothing about real people."
)
RESPONSIBLE_USE = "Responsible use"
DEFAULT_KICKER = "Voice–face association report"
_CURVES_HINT = (
    "Thin lines are single values, thick lines their running means. Curves with few values have dots."
)
REPORTED_PACKAGES = (
    "voiceface-shared",
    "torch",
    "torchaudio",
    "numpy",
    "scipy",
    "opencv-python-headless",
    "soundfile",
    "pillow",
)


def build_report(
    out_html: str | PathLike[str],
    *,
    title: str,
    subtitle: str = "",
    facts: Mapping[str, Any] | None = None,
    disclaimers: str | Sequence[str] = (),
    summary: Sequence[str] = (),
    headlines: Sequence[Headline] = (),
    systems: Sequence[SystemResults] = (),
    combined_title: str = "",
    differences: Sequence[PairedDifferenceRow] = (),
    tables: Sequence[Table] = (),
    plots: Sequence[Plot | Histogram] = (),
    protocol: ProtocolSummary | None = None,
    unavailable: Sequence[UnavailableResult] = (),
    logs: str | PathLike[str] | Mapping[str, str | PathLike[str]] | None = None,
    log_names: Sequence[str] | None = None,
    roc: Sequence[Plot] = (),
    cmc: Sequence[Plot] = (),
    retrieval_examples: Sequence[RetrievalExamples] = (),
    identity_groups: Sequence[IdentityGroup] = (),
    meshes: Sequence[MeshView] = (),
    system_cards: Sequence[SystemCard] = (),
    cards_title: str = "Voices",
    cards_hint: str = "",
    section_titles: Mapping[str, str] | None = None,
    system_tables: Sequence[Table] = (),
    responsible_use: Sequence[str] = (),
    kicker: str = DEFAULT_KICKER,
    config: str | Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    commands: str | Sequence[str] = (),
    max_bytes: int = 6_000_000,
) -> Path:
    """Write one self-contained HTML file. Sections without content are omitted.

    The same arguments give the same bytes: no date and no host name is added.

    Args:
        out_html: output file, written atomically.
        title: heading of the page.
        subtitle: one or two sentences under it.
        facts: name -> short text, shown as labels under the title (system, data, checkpoint).
        disclaimers: warnings at the top, one box each; `SYNTHETIC_PAGE_DISCLAIMER` for synthetic data.
        summary: findings, one or two sentences each.
        headlines: metrics on cards, most important first.
        systems: results of each system side by side; the order fixes their colours.
        combined_title: heading of one plot and one table with all results, for several systems.
        differences: paired differences between systems.
        tables: further tables.
        plots: further plots and histograms (identity weights, accuracy against rho).
        protocol: trial lists and rules behind the metrics.
        unavailable: lists and metrics that could not be computed, shown with the results.
        logs: log.jsonl or run folder, or name -> such a path for several runs.
        log_names: scalars of the logs to plot; None plots all that vary.
        roc: plots of receiver operating characteristics.
        cmc: plots of cumulative matches.
        retrieval_examples: retrieval examples.
        identity_groups: groups of identities (hardest, easiest, a sample).
        meshes: interactive meshes.
        system_cards: cards with the outputs of several systems for one utterance.
        cards_title: heading of these cards.
        cards_hint: a sentence under it.
        section_titles: usual heading -> heading of this page.
        system_tables: tables of the systems.
        responsible_use: rules for the use of the page, one or two sentences each.
        kicker: line above the title that names the kind of page.
        config: YAML text, or a mapping that is written as YAML.
        environment: name -> version; `collect_environment` gives the usual ones.
        commands: shell lines that reproduce the results.
        max_bytes: largest size of the file; images and voices beyond it are skipped and counted on the page.

    Returns:
        Path of the page.

    Raises:
        FileNotFoundError: a log does not exist.
        ValueError: x and y of a curve differ in shape.
    """
    names = [system.name for system in systems]
    runs = {"run": logs} if isinstance(logs, str | PathLike) else dict(logs or {})
    names += [name for name in runs if name not in names and len(runs) > 1]
    classes = assign_colour_classes(names)
    learning = build_learning_curves(runs, log_names) if runs else []
    commands = [commands] if isinstance(commands, str) else list(commands)

    sections: dict[str, Markup] = {
        "Headlines": _headlines_html(summary, headlines),
        "Results": _results_html(systems, classes, combined_title)
        + unavailable_html(unavailable)
        + differences_html(differences),
        "ROC and CMC": _plots_html([*roc, *cmc], classes),
        "Learning curves": (_macro("hint", _CURVES_HINT) if learning else Markup(""))
        + _plots_html(learning, classes),
        "Further metrics": _plots_html(plots, classes) + Markup("").join(map(table_html, tables)),
        "Protocol": protocol_html(protocol) if protocol else Markup(""),
        "Reproduce": _reproduce_html(commands, config, environment or {}),
    }
    style, script = _read_resource("report.css"), _read_resource("report.js")
    if system_cards:
        style += _read_resource("system_card.css")
    if meshes or any(isinstance(tile, MeshView) for card in system_cards for tile in card.tiles):
        style, script = style + _read_resource("mesh_view.css"), script + _read_resource("mesh_view.js")
    used = sum(map(len, sections.values())) + len(style) + len(script) + 20_000
    count = _count_media(retrieval_examples, identity_groups, system_cards)
    media = MediaEncoder(max(0, max_bytes - used - 3_000 * count))
    sections[cards_title] = system_cards_html(system_cards, media, cards_hint)
    sections["Meshes"] = meshes_html(meshes, media)
    sections["Galleries"] = Markup("").join(
        retrieval_examples_html(each, media) for each in retrieval_examples
    )
    groups = [identity_group_html(group, media) for group in identity_groups]
    if media.num_skipped:
        text = f"{media.num_skipped} images, utterances and meshes were skipped to keep this file small."
        groups.append(_macro("note", text))
    sections["Identities"] = Markup("").join(groups)
    sections["Systems"] = Markup("").join(map(table_html, system_tables))
    sections[RESPONSIBLE_USE] = _macro("bullet_card", responsible_use) if responsible_use else Markup("")
    order = [
        *("Headlines", cards_title, "Meshes", "Systems", "Results", "ROC and CMC", "Galleries", "Identities"),
        *("Learning curves", "Further metrics", "Protocol", "Reproduce", RESPONSIBLE_USE),
    ]
    bars, face = _emblem_paths()
    text = render(
        "page.html",
        title=title,
        subtitle=subtitle,
        kicker=kicker,
        facts=dict(facts or {}),
        disclaimers=[t for t in ([disclaimers] if isinstance(disclaimers, str) else disclaimers) if t],
        responsible_use_anchor=_anchor(RESPONSIBLE_USE) if responsible_use else "",
        sections=[
            {"title": (section_titles or {}).get(name, name), "anchor": _anchor(name), "html": sections[name]}
            for name in order
            if sections[name]
        ],
        style=style,
        script=script,
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        emblem_bars=bars,
        emblem_face=face,
        version=_version(),
    )
    write_text(out_html, text)
    return Path(out_html)


def collect_environment(packages: Sequence[str] = REPORTED_PACKAGES) -> dict[str, str]:
    """Versions of Python, the system and the packages that are installed."""
    versions = {"Python": platform.python_version(), "System": f"{platform.system()} {platform.machine()}"}
    for name in packages:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _macro(name: str, *args: Any) -> Markup:
    return render_macro("sections.html", name, *args)


def _headlines_html(summary: Sequence[str], headlines: Sequence[Headline]) -> Markup:
    """Summary sentences and headline cards."""
    html = _macro("bullet_card", summary) if summary else Markup("")
    return html + (_macro("headline_grid", list(map(headline_html, headlines))) if headlines else Markup(""))


def _results_html(
    systems: Sequence[SystemResults], classes: Mapping[str, str], combined_title: str
) -> Markup:
    """Forest plot, legend of the strata and results tables."""
    if not systems:
        return Markup("")
    rows = [row for system in systems for row in system.rows]
    html = Markup("")
    strata = dict.fromkeys(row.stratum for row in rows if row.stratum in STRATUM_DESCRIPTIONS)
    if strata:
        html += _macro("strata", [(letters, STRATUM_DESCRIPTIONS[letters]) for letters in strata])
    if combined_title:
        html += forest_plot_html(systems, classes, title=combined_title)
    references = [
        (field, name)
        for field, name in REFERENCE_FIELDS
        if any(is_finite_number(getattr(row, field)) for row in rows)
    ]
    if references:
        html += _macro("results_hint", references)
    return html + results_html(systems, classes, title=combined_title)


def _plots_html(plots: Sequence[Plot | Histogram], classes: Mapping[str, str]) -> Markup:
    """Grid of plots; empty if no plot has values."""
    drawn = [
        histogram_html(plot) if isinstance(plot, Histogram) else line_plot_html(plot, classes)
        for plot in plots
    ]
    drawn = [plot_html for plot_html in drawn if plot_html]
    return render_macro("plots.html", "grid", drawn) if drawn else Markup("")


def _reproduce_html(
    commands: Sequence[str], config: str | Mapping[str, Any] | None, environment: Mapping[str, str]
) -> Markup:
    """Commands, configuration and versions."""
    html = _macro("commands", "\n".join(commands)) if commands else Markup("")
    if config:
        html += _macro("configuration", _configuration_lines(config))
    return html + (_macro("environment", facts_html(environment)) if environment else Markup(""))


def _configuration_lines(config: str | Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Lines of a YAML text as (indentation, key, rest, comment)."""
    if not isinstance(config, str):
        import yaml

        config = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
    lines: list[tuple[str, str, str, str]] = []
    for line in config.rstrip().split("\n"):
        code, mark, comment = line.partition(" #") if not line.lstrip().startswith("#") else ("", line, "")
        match = re.match(r"(\s*(?:- )?)([^\s:#][^:]*)(:(?=\s|$).*)$", code)
        indent, key, rest = match.groups() if match else ("", "", code)
        lines.append((indent, key, rest, f"{mark}{comment}"))
    return lines


def _emblem_paths() -> tuple[str, str]:
    """Paths of the decorative emblem: a waveform, and the outline of a face."""
    heights = (6, 12, 22, 14, 30, 44, 26, 52, 34, 60, 40, 24, 48, 30, 16, 26, 12, 6)
    bars = "".join(f"M{8 * i + 4} {36 - h / 2}V{36 + h / 2}" for i, h in enumerate(heights))
    face = "M176 12c-17 0-27 12-26 28 1 17 12 30 26 30s25-13 26-30c1-16-9-28-26-28"
    return bars, face + "M166 36h4M182 36h4M176 38v10M168 56q8 5 16 0"


def _count_media(
    retrieval_examples: Sequence[RetrievalExamples],
    identity_groups: Sequence[IdentityGroup],
    system_cards: Sequence[SystemCard] = (),
) -> int:
    """Number of images and utterances, each of which needs markup besides its own bytes."""
    ranked = sum(len(r.ranking.candidates) for card in system_cards for r in card.rankings)
    in_cards = ranked + sum(len(card.tiles) + 1 for card in system_cards)
    in_examples = sum(len(q.candidates) + 1 for g in retrieval_examples for q in g.probes)
    return in_cards + in_examples + sum(len(g.identities) for g in identity_groups)


def _anchor(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _version() -> str:
    from voiceface import __version__

    return __version__


def _read_resource(name: str) -> str:
    return files("voiceface.report").joinpath(name).read_text(encoding="utf-8")
