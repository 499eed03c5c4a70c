"""Sphinx extension: plain Google-style docstrings become valid reStructuredText.

Docstrings are written to be read in the source: `names` in single backticks, code in indented blocks,
symbols such as * and | as they are. Fields of configuration classes are listed with their bounds.
"""

import re
from typing import Any

SECTIONS = "Args|Arguments|Attributes|Examples?|Keyword Args|Notes?|Raises|Returns|Yields|References"
SECTION = re.compile(rf"\s*({SECTIONS}):\s*$")
CODE_SPAN = re.compile(r"(`+)(.+?)\1", re.DOTALL)
SPECIAL = re.compile(r"[*|\\]|(?<=\w)_(?!\w)")
BULLET = re.compile(r"\s*([-*+]|\d+\.) ")


def indentation(line: str) -> int:
    """Number of blanks at the start of a line."""
    return len(line) - len(line.lstrip())


def escape(text: str) -> str:
    """Text with markup characters escaped, except in code spans, which get double backticks."""
    parts, end = [], 0
    for span in CODE_SPAN.finditer(text):
        parts.append(SPECIAL.sub(lambda found: "\\" + found[0], text[end : span.start()]))
        # White space at the ends of a literal is not valid.
        parts.append(f"\\ ``{span[2].strip()}``\\ ")
        end = span.end()
    parts.append(SPECIAL.sub(lambda found: "\\" + found[0], text[end:]))
    joined = "".join(parts)
    return re.sub(r"(?<=\s)\\ (?=``)|^(\s*)\\ (?=``)", lambda found: found[1] or "", joined)


def to_restructured_text(lines: list[str]) -> list[str]:
    """A plain docstring as reStructuredText.

    Args:
        lines: the docstring without its common indentation.

    Returns:
        The same text; indented blocks outside of sections are literal blocks.
    """
    paragraphs: list[list[str]] = []  # separated by blank lines, kept as empty lists
    for line in lines:
        if not line.strip():
            paragraphs.append([])
        elif paragraphs and paragraphs[-1]:
            paragraphs[-1].append(line)
        else:
            paragraphs.append([line])
    result: list[str] = []
    section: int | None = None  # indentation of the section's title, inside a section
    literal = False
    listed = False  # the last paragraph was a list: what is indented below belongs to it
    for paragraph in paragraphs:
        if not paragraph:
            result.append("")
            continue
        first = indentation(paragraph[0])
        if section is not None and first <= section:
            section = None
        if SECTION.fullmatch(paragraph[0]):
            section = first
            if paragraph[0].strip().startswith("Example") and not paragraph[1].lstrip().startswith(">>>"):
                result += ["::", "", *paragraph[1:]]
                section, literal = None, True
                continue
        inside = section is not None or listed
        if first and not inside and not literal:
            result += ["::", ""]
            literal = True
        elif not first:
            literal = False
        is_code = literal or paragraph[0].lstrip().startswith(">>>")
        if not (is_code or inside or BULLET.match(paragraph[0])):
            deeper = next((at for at, line in enumerate(paragraph) if indentation(line)), len(paragraph))
            result += escape("\n".join(paragraph[:deeper])).split("\n")
            if deeper < len(paragraph):
                result += ["", "::", "", *paragraph[deeper:]]
                literal = True
            continue
        result += paragraph if is_code else escape("\n".join(paragraph)).split("\n")
        listed = bool(BULLET.match(paragraph[-1])) or (listed and first > 0)
    return result


def configuration_fields(model: Any) -> list[str]:
    """One line per field of a configuration class: name, default, bounds and description."""
    lines = ["", "Attributes:"]
    for name, field in model.model_fields.items():
        default = (
            "required"
            if field.is_required()
            else f"default ``{field.get_default(call_default_factory=True)!r}``"
        )
        bounds = ", ".join(str(item) for item in field.metadata)
        words = "; ".join(
            word for word in (field.description or "", default, bounds and f"``{bounds}``") if word
        )
        lines.append(f"    {name}: {words}")
    return lines if len(lines) > 2 else []


def process(app: Any, kind: str, name: str, what: Any, options: Any, lines: list[str]) -> None:
    """Handler of `autodoc-process-docstring`, before napoleon reads the sections."""
    lines[:] = to_restructured_text(lines)
    if kind == "class" and isinstance(getattr(what, "model_fields", None), dict):
        lines += configuration_fields(what)


def setup(app: Any) -> dict[str, Any]:
    """Register the handler."""
    app.connect("autodoc-process-docstring", process, priority=400)
    return {"parallel_read_safe": True}
