"""The page itself: sections in order, style and script inside, nothing from outside."""

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

from voiceface.io.atomic import write_text
from voiceface.report.forest_plot import forest_plot_html
from voiceface.report.formatting import STRATUM_DESCRIPTIONS, escape_html
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
    differences_html,
    facts_html,
    headline_html,
    protocol_html,
    results_html,
    table_html,
)

SYNTHETIC_PAGE_DISCLAIMER = (
    "Synthetic population: every voice and face on this page belongs to an invented person. "
    "The figures say nothing about real people."
)
RESPONSIBLE_USE = "Responsible use"
DEFAULT_KICKER = "Voice–face association report"
_RESULTS_HINT = (
    '<p class="hint">Intervals are 95 %. The bar beside each figure runs between the values above it: '
    '<span class="swatch chance"></span>chance level, <span class="swatch baseline"></span>gender-only baseline, '
    '<span class="swatch upper_bound"></span>oracle upper bound. Column heads sort.</p>'
)
_CURVES_HINT = (
    '<p class="hint">Thin lines are single values, thick lines their running mean; '
    "dots are checks between the steps.</p>"
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
    system_tables: Sequence[Table] = (),
    responsible_use: Sequence[str] = (),
    kicker: str = DEFAULT_KICKER,
    config: str | Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    commands: str | Sequence[str] = (),
    max_bytes: int = 6_000_000,
) -> Path:
    """Write one HTML file that holds everything it shows. Whatever is not given is left out.

    The same arguments give the same bytes: no date and no machine name is added.

    Args:
        out_html: the file to write, atomically.
        title: heading of the page.
        subtitle: one or two sentences under it.
        facts: name -> short text, shown as labels under the title (system, data, checkpoint).
        disclaimers: warnings at the top, one box each; `SYNTHETIC_NOTICE` for the population.
        summary: what was found, one sentence or two each.
        headlines: figures on cards, most important first.
        systems: results of each system side by side; the order fixes their colours.
        combined_title: heading under which all results stand in one plot and one table, for several systems.
        differences: paired differences between systems.
        tables: further tables.
        plots: further plots and histograms (identity weights, accuracy against rho).
        protocol: lists and rules behind the figures.
        logs: log.jsonl or run folder, or name -> such a path for several runs.
        log_names: scalars of the logs to draw; None draws all that vary.
        roc: plots of receiver operating characteristics.
        cmc: plots of cumulative matches.
        retrieval_examples: retrieval examples.
        identity_groups: groups of people (hardest, easiest, a sample).
        meshes: meshes that can be turned.
        system_cards: what several systems make of one voice, a card each.
        cards_title: heading of these cards.
        cards_hint: a sentence under it.
        system_tables: tables of the systems that take part.
        responsible_use: what must not be done with the page, a sentence or two each.
        kicker: line above the title: what kind of page it is.
        config: YAML text, or a mapping that is written as YAML.
        environment: name -> version; `environment()` of this module gives the usual ones.
        commands: how to make the same figures again, one shell line each.
        max_bytes: largest size of the file; pictures and voices past it are left out, which the page says.

    Returns:
        The path written.

    Raises:
        FileNotFoundError: a log that does not exist.
        ValueError: a curve whose x and y differ in shape.
    """
    names = [system.name for system in systems]
    runs = {"run": logs} if isinstance(logs, str | PathLike) else dict(logs or {})
    names += [name for name in runs if name not in names and len(runs) > 1]
    classes = assign_colour_classes(names)
    learning = build_learning_curves(runs, log_names) if runs else []
    commands = [commands] if isinstance(commands, str) else list(commands)

    def draw(wanted: Sequence[Plot | Histogram]) -> str:
        drawn = [
            histogram_html(p) if isinstance(p, Histogram) else line_plot_html(p, classes) for p in wanted
        ]
        drawn = [plot for plot in drawn if plot]
        pairs = " two" if len(drawn) in (1, 2, 4) else ""
        return f'<div class="plots{pairs}">{"".join(drawn)}</div>' if drawn else ""

    cards = "".join(map(headline_html, headlines))
    results = results_html(systems, classes, title=combined_title) if systems else ""
    said = "".join(f"<li>{escape_html(text)}</li>" for text in summary)
    sections = {
        "Headlines": (f'<ul class="card summary">{said}</ul>' if said else "")
        + (
            f'<ul class="headlines{" three" if len(headlines) in (5, 6, 9) else ""}">{cards}</ul>'
            if cards
            else ""
        ),
        "Results": (forest_plot_html(systems, classes, title=combined_title) if combined_title else "")
        + (_strata_html(systems) + _RESULTS_HINT if results else "")
        + results
        + differences_html(differences),
        "ROC and CMC": draw([*roc, *cmc]),
        "Learning curves": (_CURVES_HINT if learning else "") + draw(learning),
        "Further figures": draw(plots) + "".join(map(table_html, tables)),
        "Protocol": protocol_html(protocol) if protocol else "",
        "Reproduce": _commands_html(commands) + _config_html(config) + _environment_html(environment or {}),
    }
    style, script = _read_resource("report.css"), _read_resource("report.js")
    if system_cards:
        style += _read_resource("story.css")
    if meshes or any(isinstance(tile, MeshView) for story in system_cards for tile in story.tiles):
        style, script = style + _read_resource("mesh_view.css"), script + _read_resource("mesh_view.js")
    used = sum(map(len, sections.values())) + len(style) + len(script) + 20_000
    media = MediaEncoder(
        max(0, max_bytes - used - 3_000 * _count_media(retrieval_examples, identity_groups, system_cards))
    )
    told = system_cards_html(system_cards, media, cards_hint)
    turned = meshes_html(meshes, media)
    shown = "".join(retrieval_examples_html(gallery, media) for gallery in retrieval_examples)
    met = "".join(identity_group_html(group, media) for group in identity_groups)
    if media.num_skipped:
        lost = f"{media.num_skipped} pictures, voices and meshes were left out to keep this file small."
        met += f'<p class="note">{lost}</p>'
    first = ["Headlines", cards_title, "Meshes", "Systems", "Results", "ROC and CMC", "Galleries", "People"]
    order = [*first, *list(sections)[3:], RESPONSIBLE_USE]
    sections |= {"Meshes": turned, "Galleries": shown, "People": met, cards_title: told}
    sections["Systems"] = "".join(map(table_html, system_tables))
    rules = "".join(f"<li>{escape_html(text)}</li>" for text in responsible_use)
    sections[RESPONSIBLE_USE] = f'<ul class="card summary">{rules}</ul>' if rules else ""
    body = [(name, sections[name]) for name in order if sections[name]]
    minded = f'<p class="careful"><a href="#{_anchor(RESPONSIBLE_USE)}">What must not be done with this page</a></p>'
    write_text(
        out_html,
        _page_html(
            title,
            subtitle,
            kicker,
            facts or {},
            disclaimers,
            body,
            style,
            script,
            minded if responsible_use else "",
        ),
    )
    return Path(out_html)


def collect_environment(packages: Sequence[str] = REPORTED_PACKAGES) -> dict[str, str]:
    """Versions of Python, the system and the packages that are installed."""
    found = {"Python": platform.python_version(), "System": f"{platform.system()} {platform.machine()}"}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _page_html(
    title: str,
    subtitle: str,
    kicker: str,
    facts: Mapping[str, Any],
    disclaimers: str | Sequence[str],
    sections: Sequence[tuple[str, str]],
    style: str,
    script: str,
    responsible_use_link: str = "",
) -> str:
    """The whole document."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'"
    policy += f"; script-src 'sha256-{digest}'"
    chips = "".join(
        f"<div><dt>{escape_html(name)}</dt><dd>{escape_html(value)}</dd></div>"
        for name, value in facts.items()
    )
    boxes = "".join(
        f'<p class="notice" role="note"><span aria-hidden="true">!</span>{escape_html(text)}</p>'
        for text in ([disclaimers] if isinstance(disclaimers, str) else disclaimers)
        if text
    )
    links = "".join(f'<li><a href="#{_anchor(name)}">{escape_html(name)}</a></li>' for name, _ in sections)
    parts = "".join(
        f'<section id="{_anchor(name)}" aria-labelledby="h-{_anchor(name)}">'
        f'<h2 id="h-{_anchor(name)}">{escape_html(name)}</h2>{html}</section>'
        for name, html in sections
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="color-scheme" content="light dark">
<title>{escape_html(title)}</title>
<style>
{style}</style>
</head>
<body>
<a class="skip" href="#content">Skip to the content</a>
<header>
<div class="wide">{_emblem_html()}
<p class="kicker">{escape_html(kicker)}</p>
<h1>{escape_html(title)}</h1>
{f'<p class="subtitle">{escape_html(subtitle)}</p>' if subtitle else ""}
{f'<dl class="chips">{chips}</dl>' if chips else ""}
</div>
</header>
<nav aria-label="Sections"><div class="wide"><ul>{links}</ul>
<button type="button" id="theme" hidden aria-label="Switch between light and dark">◐</button></div></nav>
<main id="content" class="wide">
{boxes}{responsible_use_link}
{parts}
</main>
<footer class="wide">
<p>Made with voiceface {escape_html(_version())}. This file is complete: it loads nothing from outside.</p>
</footer>
<script>{script}</script>
</body>
</html>
"""


def _strata_html(systems: Sequence[SystemResults]) -> str:
    """What the letters of the strata mean, those that occur."""
    found = dict.fromkeys(
        row.stratum for system in systems for row in system.rows if row.stratum in STRATUM_DESCRIPTIONS
    )
    items = "".join(f'<li><abbr class="badge">{s}</abbr> {STRATUM_DESCRIPTIONS[s]}</li>' for s in found)
    return f'<ul class="strata">{items}</ul>' if items else ""


def _config_html(config: str | Mapping[str, Any] | None) -> str:
    """The configuration, folded, with keys and comments set apart."""
    if not config:
        return ""
    if not isinstance(config, str):
        import yaml

        config = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
    lines = []
    for line in escape_html(config.rstrip()).split("\n"):
        code, mark, comment = line.partition(" #") if not line.lstrip().startswith("#") else ("", line, "")
        code = re.sub(r"^(\s*(?:- )?)([^\s:#][^:]*)(:)(?=\s|$)", r"\1<b>\2</b>\3", code)
        lines.append(f"{code}<i>{mark}{comment}</i>" if mark else code)
    text = "\n".join(lines)
    folded = f'<summary>Every value of the run</summary><pre class="code">{text}</pre>'
    return f'<h3>Configuration</h3><details class="card">{folded}</details>'


def _environment_html(environment: Mapping[str, str]) -> str:
    """Versions, in columns."""
    return f"<h3>Environment</h3>{facts_html(environment)}" if environment else ""


def _commands_html(commands: Sequence[str]) -> str:
    """Shell lines with a button that copies them."""
    if not commands:
        return ""
    text = escape_html("\n".join(commands))
    button = '<button type="button" class="copier" hidden>Copy</button>'
    return f'<h3>Commands</h3><div class="card copy">{button}<pre class="code">{text}</pre></div>'


def _emblem_html() -> str:
    """A decorative wave that widens into the outline of a face."""
    heights = (6, 12, 22, 14, 30, 44, 26, 52, 34, 60, 40, 24, 48, 30, 16, 26, 12, 6)
    bars = "".join(f"M{8 * i + 4} {36 - h / 2}V{36 + h / 2}" for i, h in enumerate(heights))
    face = "M176 12c-17 0-27 12-26 28 1 17 12 30 26 30s25-13 26-30c1-16-9-28-26-28"
    face += "M166 36h4M182 36h4M176 38v10M168 56q8 5 16 0"
    paths = f'<path d="{bars}"/><path class="face" d="{face}"/>'
    return f'<svg class="emblem" viewBox="0 0 208 76" aria-hidden="true">{paths}</svg>'


def _count_media(
    retrieval_examples: Sequence[RetrievalExamples],
    identity_groups: Sequence[IdentityGroup],
    system_cards: Sequence[SystemCard] = (),
) -> int:
    """Pieces of markup that pictures and voices need besides their own bytes."""
    ranked = sum(len(r.ranking.candidates) for story in system_cards for r in story.rankings)
    told = ranked + sum(len(story.tiles) + 1 for story in system_cards)
    asked = sum(len(q.candidates) + 1 for g in retrieval_examples for q in g.probes)
    return told + asked + sum(len(g.identities) for g in identity_groups)


def _anchor(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _version() -> str:
    from voiceface import __version__

    return __version__


def _read_resource(name: str) -> str:
    return files("voiceface.report").joinpath(name).read_text(encoding="utf-8")
