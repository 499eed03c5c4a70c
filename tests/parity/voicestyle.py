"""Which check serves which case of cmpc2 and voicestyle."""

from parity.choice import Choice, check

CHOICE = Choice(
    {
        "upfirdn2d": check("stylegan2_layers"),
    }
)
