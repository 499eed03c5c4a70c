"""Learning rate of the published schedule."""

__all__ = [
    "FINAL_LR_FRACTION",
    "lr_after_epoch",
]

FINAL_LR_FRACTION = 0.001


def lr_after_epoch(
    lr: float, epoch: int, decay_epoch: int, num_epochs: int, final_lr_fraction: float = FINAL_LR_FRACTION
) -> float:
    """Learning rate after the end of an epoch.

    It is constant before epoch `decay_epoch`; then it decays linearly after every epoch, to about
    `final_lr_fraction` of its initial value after the last epoch. With steps in place of epochs it decays
    after every step.

    Args:
        lr: initial learning rate.
        epoch: epoch that has ended, from 0.
        decay_epoch: first epoch after which the learning rate decays.
        num_epochs: of the whole run.
        final_lr_fraction: of the initial learning rate, at the end.
    """
    if epoch < decay_epoch:
        return lr
    share = (epoch - decay_epoch + 1) / (num_epochs - decay_epoch + 1e-5)
    return lr - share * (lr - final_lr_fraction * lr)
