"""The error of decoding in worker processes."""

__all__ = ["DecodingError"]


class DecodingError(ValueError):
    """A file cannot be decoded: the decoder refused it, crashed on it or did not end.

    Attributes:
        kind: type of the error that the decoder raised; "" after a crash or a time-out.
    """

    def __init__(self, message: str, kind: str = "") -> None:
        super().__init__(message)
        self.kind = kind
