"""YAML of others: plain values, with bounds on size, nesting and repetition.

YAML lets a file repeat a part by an alias. The safe loader shares such parts, but whatever walks the values
afterwards visits them as often as they stand there; a file of a few lines can hold more than any memory.
"""

from collections import Counter
from typing import Any

import yaml

__all__ = ["MAX_NESTING_DEPTH", "MAX_TEXT_LENGTH", "MAX_VALUES", "load_yaml"]

MAX_TEXT_LENGTH = 2**18
MAX_VALUES = 20_000
"""Values of one file, repeated ones counted at every place."""
MAX_NESTING_DEPTH = 40
_MAX_NUMBER_LENGTH = 100


def load_yaml(text: str) -> Any:
    """Read plain values: mappings, lists, numbers, text, truth values, dates, None.

    Args:
        text: at most `MAX_TEXT_LENGTH` characters.

    Raises:
        yaml.YAMLError: no YAML, a repeated key, another type than plain values, or beyond a bound.

    Example:
        >>> load_yaml("optimiser: {lr: 0.1}")
        {'optimiser': {'lr': 0.1}}
    """
    if len(text) > MAX_TEXT_LENGTH:
        raise yaml.YAMLError(f"{len(text):,} characters, expected at most {MAX_TEXT_LENGTH:,}")
    loader = _PlainLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        count = _count_values(node, {}, 0)
        if count > MAX_VALUES:
            raise yaml.YAMLError(f"its aliases repeat values beyond {MAX_VALUES:,}")
        return loader.construct_document(node)
    except RecursionError:
        raise yaml.YAMLError("nested too deeply") from None
    except (ValueError, TypeError, LookupError, OverflowError, AttributeError) as error:
        raise yaml.YAMLError(f"a value that cannot be read ({str(error)[:100]})") from None
    finally:
        loader.dispose()


class _PlainLoader(yaml.SafeLoader):
    """YAML's safe loader, except that a repeated key and a very long number are errors."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        for key, count in keys.items():
            if count > 1 and key != "<<":
                raise yaml.YAMLError(
                    f"key {key!r} stands twice, again in line {node.start_mark.line + 1} ff."
                )
        return super().construct_mapping(node, deep)

    def construct_scalar(self, node: Any) -> Any:
        if node.tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float") and (
            len(node.value) > _MAX_NUMBER_LENGTH
        ):
            raise yaml.YAMLError(f"a number of {len(node.value)} digits in line {node.start_mark.line + 1}")
        return super().construct_scalar(node)


def _count_values(node: yaml.Node, known: dict[int, int], depth: int) -> int:
    """Number of values below a node, those of aliases at every place."""
    if depth > MAX_NESTING_DEPTH:
        raise yaml.YAMLError(f"nested more than {MAX_NESTING_DEPTH} times")
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) in known:
        if known[id(node)] < 0:
            raise yaml.YAMLError(f"a part that contains itself, in line {node.start_mark.line + 1}")
        return known[id(node)]
    known[id(node)] = -1
    parts = (
        [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
    )
    known[id(node)] = 1 + sum(_count_values(part, known, depth + 1) for part in parts)
    return known[id(node)]
