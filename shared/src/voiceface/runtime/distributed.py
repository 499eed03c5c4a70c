"""Data-parallel training whose result equals that of one process with the whole batch.

torchrun starts the processes; each holds an equal share of the rows of every batch. Operations that mix rows
(batch statistics, dropout masks, losses over all pairs) work on the global batch, over gloo (CPU) or nccl
(CUDA).
"""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = [
    "GlobalDropout",
    "SynchronisedBatchNorm",
    "all_gather_objects",
    "all_gather_with_gradient",
    "all_reduce_max",
    "all_reduce_mean",
    "all_reduce_sum",
    "alone",
    "average_gradients",
    "convert_to_global_layers",
    "draw_rows",
    "initialise",
    "rank",
    "rank_in_environment",
    "shutdown",
    "world_size",
]

_ALONE: list[bool] = []  # entries of `alone`


def initialise(device: str) -> tuple[int, int, int]:
    """Join the process group that torchrun describes in the environment; a single process without torchrun.

    Args:
        device: ``cuda`` communicates over nccl (one GPU per process), anything else over gloo.

    Returns:
        Rank, number of processes, local rank on this machine.

    Raises:
        ValueError: the environment is incomplete, or there are fewer GPUs than processes on this machine.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return 0, 1, 0
    needed = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    if missing := [name for name in needed if name not in os.environ]:
        raise ValueError(
            f"WORLD_SIZE is set but {', '.join(missing)} is not; start several processes with torchrun"
        )
    local = int(os.environ["LOCAL_RANK"])
    if device == "cuda":
        if local >= torch.cuda.device_count():
            raise ValueError(
                f"process {local} of this machine has no GPU: {torch.cuda.device_count()} found; "
                "start fewer processes (torchrun --nproc-per-node)"
            )
        torch.cuda.set_device(local)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device == "cuda" else "gloo")
    return dist.get_rank(), dist.get_world_size(), local


def shutdown() -> None:
    """Leave the process group, if there is one."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def world_size() -> int:
    """Number of processes; 1 without a process group, and within `alone`."""
    if _ALONE or not (dist.is_available() and dist.is_initialized()):
        return 1
    return dist.get_world_size()


def rank() -> int:
    """Rank of this process, from 0."""
    return dist.get_rank() if world_size() > 1 else 0


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Context in which this process acts as the only one: layers, losses, random numbers of its own rows."""
    _ALONE.append(True)
    try:
        yield
    finally:
        _ALONE.pop()


def draw_rows(draw: Callable[[tuple[int, ...]], Tensor], shape: Iterable[int]) -> Tensor:
    """Draw random numbers of the rows of this process, out of those for the rows of all processes.

    Generators of all processes have to be in the same state, which they leave in the same state.

    Args:
        draw: returns numbers of a shape.
        shape: of this process's rows, the same on every process.

    Returns:
        Numbers of that shape: what one process with all rows draws, in the order of ranks.
    """
    rows, *rest = shape
    first = rank() * rows
    return draw((rows * world_size(), *rest))[first : first + rows]


def average_gradients(parameters: Iterable[nn.Parameter], chunk: int = 8_000_000) -> None:
    """Replace gradients by their means over the processes; parameters without a gradient stay so.

    Args:
        parameters: the same, with the same ones lacking a gradient, on every process.
        chunk: numbers that are sent at once, at least those of one parameter.
    """
    if world_size() == 1:
        return
    groups: dict[torch.dtype, list[list[Tensor]]] = {}
    for parameter in parameters:
        if parameter.grad is not None:
            parts = groups.setdefault(parameter.grad.dtype, [[]])
            if parts[-1] and sum(each.numel() for each in parts[-1]) + parameter.numel() > chunk:
                parts.append([])
            parts[-1].append(parameter.grad)
    for part in (part for parts in groups.values() for part in parts):
        flat = torch.cat([gradient.reshape(-1) for gradient in part])
        dist.all_reduce(flat)
        means = flat.div_(world_size()).split([gradient.numel() for gradient in part])
        for gradient, mean in zip(part, means):
            gradient.copy_(mean.view(gradient.shape))


def rank_in_environment() -> int:
    """Rank that torchrun gave this process, also before it joins the group; 0 without torchrun."""
    return int(os.environ.get("RANK", "0"))


def all_gather_objects(value: Any) -> list[Any]:
    """Collect `value` of every process in rank order, on every process."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def all_reduce_mean(value: Tensor) -> Tensor:
    """Mean of a detached tensor over the processes; the same on each."""
    if world_size() == 1:
        return value.detach()
    total = value.detach().clone()
    dist.all_reduce(total)
    return total / world_size()


def all_reduce_max(value: int, device: torch.device) -> int:
    """Largest value of all processes; `device` is one that the group communicates from."""
    if world_size() == 1:
        return value
    tensor = torch.tensor(value, device=device)
    dist.all_reduce(tensor, dist.ReduceOp.MAX)
    return int(tensor)


def all_gather_with_gradient(tensor: Tensor) -> Tensor:
    """Concatenate the rows of all processes in rank order, differentiably.

    The backward pass sums the gradients of every process's loss with respect to these rows. With the gradient
    mean of DistributedDataParallel the result is the gradient of the mean loss, as in a single process, both
    when each process computes the loss of the global batch and when each computes the mean over its own rows.

    Args:
        tensor: shape (B, ...), the same on every process.

    Returns:
        Shape (P * B, ...) for P processes; `tensor` itself when there is one.

    Raises:
        ValueError: processes hold different shapes.
    """
    if world_size() == 1:
        return tensor
    return _AllGather.apply(tensor)


def all_reduce_sum(tensor: Tensor) -> Tensor:
    """Sum over the processes, differentiable any number of times."""
    return tensor if world_size() == 1 else _AllReduceSum.apply(tensor)


# torch.distributed.nn.functional has the same two operations, but PyTorch has deprecated them (2.14 warns at
# every call) and recommends private functions instead; over gloo its gather takes P scatters backwards.


class _AllReduceSum(torch.autograd.Function):
    """All-reduce whose gradient is an all-reduce."""

    @staticmethod
    def forward(context: Any, tensor: Tensor) -> Tensor:
        total = tensor.contiguous().clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return _AllReduceSum.apply(gradient)


class _AllGather(torch.autograd.Function):
    """All-gather along the rows whose gradient is this process's slice of an all-reduce."""

    @staticmethod
    def forward(context: Any, tensor: Tensor) -> Tensor:
        context.rows = len(tensor)
        parts = [torch.empty_like(tensor, memory_format=torch.contiguous_format) for _ in range(world_size())]
        dist.all_gather(parts, tensor.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        begin = rank() * context.rows
        return _AllReduceSum.apply(gradient)[begin : begin + context.rows]


class SynchronisedBatchNorm(_BatchNorm):
    """Batch normalisation over the rows of all processes.

    Same parameters, buffers and keys as `nn.BatchNorm1d` to 3d, on CPU and CUDA (torch's own synchronised
    layer needs CUDA). Evaluation mode and a single process behave like the plain layer. Statistics are taken
    in single precision at least, in two passes (mean, then squared deviations), and joined by one message.
    Every process holds equally many rows.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise `input`, shape (B, C, ...)."""
        if not (self.training or self.running_mean is None) or world_size() == 1:
            return super().forward(input)
        if input.dim() < 2:
            raise ValueError(f"batch normalisation needs (B, C, ...), found shape {tuple(input.shape)}")
        precise = input if input.dtype == torch.float64 else input.float()
        axes = [0, *range(2, input.dim())]
        shape = [1, -1, *[1] * (input.dim() - 2)]
        own_count = precise.numel() // precise.shape[1]
        own_mean = precise.mean(axes)
        centred = precise - own_mean.view(shape)
        own_squares = (centred * centred).sum(axes)
        both = all_gather_with_gradient(torch.stack([own_mean, own_squares])).view(-1, 2, len(own_mean))
        means, squares = both.unbind(1)
        mean = means.mean(0)
        count = own_count * len(means)  # Chan et al., 1979: squares about the common mean
        variance = (squares.sum(0) + own_count * (means - mean).square().sum(0)) / count
        if self.training and self.running_mean is not None:
            self._update_running_statistics(mean.detach(), variance.detach() * (count / (count - 1)))
        scale = (variance + self.eps).rsqrt()
        if self.affine:
            scale = scale * self.weight
        shift = (own_mean - mean) * scale
        if self.affine:
            shift = shift + self.bias
        return torch.addcmul(shift.view(shape), centred, scale.view(shape)).to(input.dtype)

    def _update_running_statistics(self, mean: Tensor, variance: Tensor) -> None:
        """Update the moving averages as the plain layer does (variance with divisor n - 1)."""
        count, means, variances = self.num_batches_tracked, self.running_mean, self.running_var
        assert count is not None and means is not None and variances is not None
        count += 1
        weight = self.momentum if self.momentum is not None else 1 / float(count)
        means.lerp_(mean.to(means.dtype), weight)
        variances.lerp_(variance.to(variances.dtype), weight)

    def _check_input_dim(self, input: Tensor) -> None:
        """Accept any number of trailing axes, as for all three plain layers."""


class GlobalDropout(nn.Module):
    """Dropout whose mask is drawn for the global batch: the number of processes does not matter.

    Every process draws the mask of all rows from the default generator of its device and keeps its own rows.
    Processes must share the seed and hold equally many rows, which `voiceface.training.run.Run` ensures.

    Args:
        p: probability of a zero, in [0, 1].
        channels: drop whole channels, shape (B, C, 1, ...), as `nn.Dropout2d` does.
    """

    def __init__(self, p: float = 0.5, channels: bool = False) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"dropout probability {p} is outside 0..1")
        self.p, self.channels = p, channels

    def forward(self, input: Tensor) -> Tensor:
        """Set elements to zero with probability p and divide the rest by 1 - p; in evaluation, `input`."""
        if not self.training or self.p == 0:
            return input
        if self.p == 1:
            return input * 0
        rows = len(input)
        shape = [rows * world_size(), *input.shape[1:]]
        if self.channels:
            shape[2:] = [1] * (len(shape) - 2)
        kept = torch.empty(shape, device=input.device).bernoulli_(1 - self.p)
        own = kept[rank() * rows : (rank() + 1) * rows]
        return input * (own / (1 - self.p)).to(input.dtype)

    def extra_repr(self) -> str:
        return f"p={self.p}" + (", channels" if self.channels else "")


def convert_to_global_layers(module: nn.Module) -> nn.Module:
    """Replace batch normalisation and dropout inside `module` by their global forms, in place where possible.

    Parameters and buffers stay the same objects, so optimisers and keys stay valid.

    Returns:
        `module`, or its replacement when it is itself such a layer.
    """
    if isinstance(module, _BatchNorm) and not isinstance(module, SynchronisedBatchNorm):
        return _to_synchronised(module)
    if isinstance(module, nn.Dropout | nn.Dropout1d | nn.Dropout2d | nn.Dropout3d):
        replacement = GlobalDropout(module.p, channels=not isinstance(module, nn.Dropout))
        return replacement.train(module.training)
    for name, child in module.named_children():
        if (changed := convert_to_global_layers(child)) is not child:
            setattr(module, name, changed)
    return module


def _to_synchronised(old: _BatchNorm) -> SynchronisedBatchNorm:
    """Wrap the parameters and buffers of a plain layer in a synchronised one."""
    new = SynchronisedBatchNorm(old.num_features, old.eps, old.momentum, old.affine, old.track_running_stats)
    new._parameters, new._buffers = old._parameters, old._buffers
    return new.train(old.training)
