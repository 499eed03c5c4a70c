"""The learning rate of the published schedule (specification, section 8.3)."""

FINAL_SHARE = 0.001


def rate_after_epoch(
    lr: float, epoch: int, start: int, epochs: int, final_share: float = FINAL_SHARE
) -> float:
    """Learning rate in force after the end of an epoch.

    It is constant before epoch `start`; then it falls in a straight line, by one step after every epoch, and
    the last epoch of the run leaves about `final_share` of it. With steps in place of epochs the same line
    falls step by step.

    Args:
        lr: rate at the start.
        epoch: that has ended, from 0.
        start: first epoch after which the rate falls.
        epochs: of the whole run.
        final_share: of the rate, at the end.
    """
    if epoch < start:
        return lr
    share = (epoch - start + 1) / (epochs - start + 1e-5)
    return lr - share * (lr - final_share * lr)
