"""Numbers in sentences."""

__all__ = ["counted"]


def counted(number: int, one: str, several: str = "") -> str:
    """A number with its noun, in the singular for one.

    Args:
        number: how many, 0 or more.
        one: the singular.
        several: the plural; "": the singular with an s.

    Example:
        >>> counted(1, "clip"), counted(0, "clip"), counted(2, "person", "people")
        ('1 clip', '0 clips', '2 people')
    """
    return f"{number} {one if number == 1 else several or f'{one}s'}"
