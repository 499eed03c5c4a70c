"""Which check serves which case of sf2f."""

from parity.choice import Choice, check

CHOICE = Choice(
    {
        "vad": check("sf2f_speech", arrays=["wave"]),
    }
)
