"""The learning rate of the published schedule (specification, section 8.3)."""

FINAL_LR_FRACTION = 0.001


def lr_after_epoch(
    lr: float, epoch: int, decay_epoch: int, num_epochs: int, final_lr_fraction: float = FINAL_LR_FRACTION
) -> float:
    """Learning rate in force after the end of an epoch.

    It is constant before epoch `decay_epoch`; then it falls in a straight line, by one step after every epoch, and
    the last epoch of the run leaves about `final_lr_fraction` of it. With steps in place of epochs the same line
    falls step by step.

    Args:
        lr: rate at the start.
        epoch: that has ended, from 0.
        decay_epoch: first epoch after which the rate falls.
        num_epochs: of the whole run.
        final_lr_fraction: of the rate, at the end.
    """
    if epoch < decay_epoch:
        return lr
    share = (epoch - decay_epoch + 1) / (num_epochs - decay_epoch + 1e-5)
    return lr - share * (lr - final_lr_fraction * lr)
