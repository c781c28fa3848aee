"""Batch norm over a batch whose rows lie in several processes.

torch's own ``SyncBatchNorm`` works between GPUs alone; this one works wherever an all-reduce does. The sums
of a norm's inputs and of their squares are added up over the processes, forwards, and so are their
gradients, backwards (Peng et al., "MegDet", 2018): every process has the mean, the variance and the running
statistics that one process would have found.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed
from torch import Tensor, nn

__all__ = ["SharedNorm", "share_norms"]


class _Sum(torch.autograd.Function):
    """The sum of a tensor over all processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(_: Any, own: Tensor) -> Tensor:
        total = own.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(_: Any, slope: Tensor) -> Tensor:
        total = slope.clone()
        torch.distributed.all_reduce(total)
        return total


class SharedNorm(nn.BatchNorm2d):
    """:class:`torch.nn.BatchNorm2d` with the statistics of all processes' rows while it trains."""

    @classmethod
    def of(cls, norm: nn.BatchNorm2d) -> SharedNorm:
        """A norm with the very parameters and buffers of another."""
        shared = cls(norm.num_features, norm.eps, norm.momentum, device="meta")
        shared.weight, shared.bias = norm.weight, norm.bias
        for name, buffer in norm.named_buffers():
            setattr(shared, name, buffer)
        return shared

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        # In double, because the variance is a difference of means.
        variance, mean = torch.var_mean(x.float(), (0, 2, 3), correction=0)
        variance, mean = variance.double(), mean.double()
        count = mean.new_full((1,), x.numel() / self.num_features)
        sums = _Sum.apply(torch.cat([mean * count, (variance + mean.square()) * count, count]))
        means = sums[:-1] / sums[-1]
        mean, variance = means[: self.num_features], means[self.num_features :]
        variance = (variance - mean.square()).clamp(min=0)
        self._remember(mean.detach(), (variance * sums[-1] / (sums[-1] - 1)).detach())
        scale = self.weight * torch.rsqrt(variance + self.eps)
        shift = self.bias - mean * scale
        return (x.float() * scale.float()[:, None, None] + shift.float()[:, None, None]).to(x.dtype)

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        self.num_batches_tracked += 1
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_(variance.to(self.running_var.dtype), share)


def share_norms(network: nn.Module) -> None:
    """Puts a :class:`SharedNorm` where ``network`` has a batch norm; parameters and their names stay."""
    for name, child in network.named_children():
        if type(child) is nn.BatchNorm2d:
            setattr(network, name, SharedNorm.of(child))
        else:
            share_norms(child)
