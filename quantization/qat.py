"""Quantisation-aware training: the forward pass as the int8 file will compute it, with a slope.

A short last course from float weights (``schedule.start``) lets a network learn what rounding it must stand.
The grids are those of :mod:`.calibrate`: weights symmetric over [-127, 127] with a scale per channel, after
batch norm was folded into them; activations asymmetric with a scale per tensor, where the file rounds them
(after a fused ReLU, not before it; a resized map on the grid it came on); the input on 1/128. Rounding
passes gradients straight through, clipping stops them (Jacob et al., 2018). Running statistics are frozen:
a batch of their own would move the weights' grid from step to step.

What is trained are the parameters of the float network, under their names: its weights are stored, graded
and converted as those of any course. A student that leaves the workshop on another input than it learns on
(expression: colours for grey) has a first convolution with a slightly coarser grid than it learned under.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed
from torch import Tensor, fx, nn
from torch.nn import functional

from .calibrate import INPUT_SCALE
from .convert import ExportError

__all__ = ["Quantised", "Range"]

_SUMS = (operator.add, operator.iadd, torch.add, "add")
_RELUS = (torch.relu, functional.relu, functional.relu6, "relu", nn.ReLU, nn.ReLU6)
# They have a grid of their own in the file; a mean is no value that went in.
_FRESH = (*_SUMS, *_RELUS, nn.Conv2d, nn.BatchNorm2d, "mean", torch.mean, torch.cat)
# They stay on the grid of what goes in, and what lies between its lines is rounded.
_SAME = (
    functional.interpolate,
    functional.max_pool2d,
    functional.avg_pool2d,
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.Upsample,
    nn.Identity,
    nn.Dropout,
    nn.Dropout2d,
)


class Range(nn.Module):
    """Least and largest value of a tensor, as min-max calibration would find them.

    Widens at once to what a batch holds, in all processes of a team, and narrows by the share ``forget`` of
    the difference each step, because weights that learn leave old extremes behind.
    """

    def __init__(self, forget: float) -> None:
        super().__init__()
        self.forget = forget
        self.register_buffer("low", torch.tensor(0.0))
        self.register_buffer("high", torch.tensor(0.0))

    @torch.no_grad()
    def see(self, x: Tensor) -> None:
        """Takes a batch in."""
        reach = torch.stack([-x.min(), x.max()]).clamp(min=0)  # 0 always has a place on the grid
        if torch.distributed.is_initialized():
            torch.distributed.all_reduce(reach, torch.distributed.ReduceOp.MAX)
        low, high = -reach[0], reach[1]
        self.low.copy_(torch.minimum(low, torch.lerp(self.low, low, self.forget)))
        self.high.copy_(torch.maximum(high, torch.lerp(self.high, high, self.forget)))

    def forward(self, x: Tensor) -> Tensor:
        """The tensor rounded to the 256 values of its range."""
        scale = ((self.high - self.low) / 255).clamp(min=1e-9)
        zero = (-128 - self.low / scale).round().clamp(-128, 127).to(torch.int32)
        return torch.fake_quantize_per_tensor_affine(x, scale, zero, -128, 127)


class Quantised(nn.Module):
    """A network of convolutions, ReLUs, sums, means and resizes, computing as its int8 file will.

    While it trains, the ranges of activations follow what passes; ``eval()`` keeps them. ``ranges`` are
    those of another, to share them.

    Raises:
        ExportError: a layer whose int8 arithmetic is not known here.
    """

    def __init__(self, network: nn.Module, ranges: nn.ModuleDict | None = None, forget: float = 0.01) -> None:
        super().__init__()
        self.network = network
        self._rounds = True
        self._graph = fx.Tracer().trace(network)
        self._norms: dict[str, str] = {}  # of a convolution: the norm that is folded into it
        self._grids: dict[str, str] = {}  # of a node that is rounded: the node whose range it is
        for node in self._graph.nodes:
            self._plan(node)
        device = next(network.parameters()).device
        fresh = {name: Range(forget) for name in self._grids.values() if name != "image"}
        self.ranges = ranges if ranges is not None else nn.ModuleDict(fresh).to(device)

    @torch.no_grad()
    def calibrate(self, image: Tensor) -> None:
        """Lets the ranges see what the float network computes of a batch, as calibration does."""
        self._rounds = False
        self.train(False)(image)
        self._rounds = True

    def _kind(self, node: fx.Node) -> Any:
        """A module's class, a function, or a method's name."""
        return type(self.network.get_submodule(node.target)) if node.op == "call_module" else node.target

    def _plan(self, node: fx.Node) -> None:
        if node.op == "output":
            return
        kind = "image" if node.op == "placeholder" else self._kind(node)
        if kind == "image":
            self._grids[node.name] = "image"
        elif kind in _FRESH:
            if kind is nn.BatchNorm2d:
                self._fold(node)
            follower = next(iter(node.users), node)
            fused = _RELUS + ((nn.BatchNorm2d,) if kind is nn.Conv2d else ())
            alone = len(node.users) == 1 and follower.op != "output"
            if not (alone and kind not in _RELUS and self._kind(follower) in fused):
                self._grids[node.name] = node.name
        elif kind in _SAME:
            self._grids[node.name] = self._grids[node.args[0].name]
        else:
            what = f"'{node.name}' of {type(self.network).__name__} ({getattr(kind, '__name__', kind)})"
            raise ExportError(
                f"{what}: how int8 computes it is not known to quantization/qat.py; build the network of "
                "convolutions, ReLUs, sums, means and resizes, or train it without schedule.quantised"
            )

    def _fold(self, norm: fx.Node) -> None:
        before = norm.args[0]
        if before.op != "call_module" or self._kind(before) is not nn.Conv2d or len(before.users) > 1:
            raise ExportError(f"'{norm.name}': a batch norm folds only into the convolution right before it")
        self._norms[before.name] = norm.target

    def forward(self, image: Tensor) -> Any:
        values: dict[fx.Node, Any] = {}
        for node in self._graph.nodes:
            arguments = fx.node.map_arg((node.args, node.kwargs), values.__getitem__)
            if node.op == "output":
                return arguments[0][0]
            value = image if node.op == "placeholder" else self._computed(node, *arguments)
            grid = self._grids.get(node.name)
            values[node] = value if grid is None else self._rounded(value, grid, grid == node.name)
        raise AssertionError("a traced graph ends in its output")

    def _computed(self, node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if node.op == "call_module":
            module = self.network.get_submodule(node.target)
            if isinstance(module, nn.Conv2d):
                return self._convolved(module, self._norms.get(node.name), args[0])
            return args[0] if isinstance(module, nn.BatchNorm2d) else module(*args, **kwargs)
        called: Callable[..., Any] = node.target
        if node.op == "call_method":
            return getattr(args[0], node.target)(*args[1:], **kwargs)
        return called(*args, **kwargs)

    def _convolved(self, conv: nn.Conv2d, norm: str | None, x: Tensor) -> Tensor:
        weight, bias = conv.weight, conv.bias
        if norm is not None:
            found = self.network.get_submodule(norm)
            factor = found.weight * torch.rsqrt(found.running_var + found.eps)
            weight = weight * factor[:, None, None, None]
            mean = found.running_mean if bias is None else found.running_mean - bias
            bias = found.bias - mean * factor
        if not self._rounds:
            return conv._conv_forward(x, weight, bias)
        scale = weight.detach().abs().amax((1, 2, 3)).clamp(min=1e-9) / 127
        zero = torch.zeros_like(scale, dtype=torch.int32)
        weight = torch.fake_quantize_per_channel_affine(weight, scale, zero, 0, -127, 127)
        return conv._conv_forward(x, weight, bias)

    def _rounded(self, value: Tensor, grid: str, own: bool) -> Tensor:
        if own and (self.training or not self._rounds):
            self.ranges[grid].see(value)
        if not self._rounds:
            return value
        if grid == "image":
            return torch.fake_quantize_per_tensor_affine(value, INPUT_SCALE, 0, -128, 127)
        return self.ranges[grid](value)
