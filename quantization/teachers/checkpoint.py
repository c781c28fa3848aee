"""A published checkpoint that the user brings, as the ONNX file that its adapter describes.

A ``.pth`` or ``.pt`` is a pickle, and a pickle may be a program. Nothing of it runs here: torch's restricted
reader reads it, and a class that the reader does not know (a whole pickled network, a training's arguments or
meters) becomes a `_Husk` that keeps what was stored in it and has no code.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..convert import quiet
from .adapter import Adapter, AdapterError

__all__ = ["State", "export_checkpoint", "fill", "tensors"]

State = dict[str, Tensor]  # parameters and buffers by their names

_NESTS = ("state_dict", "model_state_dict", "state_dict_backbone", "model", "net")  # where trainings put them
_COUNTER = ".num_batches_tracked"  # of norms: old files have none, and answers do not depend on it
_NAMED = 3  # so many of a list of names are told


def export_checkpoint(adapter: Adapter, checkpoint: Path, out: Path) -> None:
    """Writes the checkpoint as the ONNX file that ``adapter`` describes.

    Raises:
        AdapterError: No network of this package reads this teacher's checkpoint, the file cannot be read, or
            its parameters are not the network's; the message names them.
    """
    if not adapter.network:
        raise AdapterError(
            f"{adapter.name}: no network of this package reads its checkpoint: follow its `export` above, "
            "and give --model alone"
        )
    module = import_module(f".networks.{adapter.network}", __package__)
    state = tensors(checkpoint)
    try:
        net = module.network(adapter, state)
    except AdapterError as error:
        raise AdapterError(
            f"{checkpoint}: is no checkpoint of {adapter.title}: {error}: bring the file that `export` above "
            "names, or choose the teacher that the checkpoint is of"
        ) from error
    _write(net.eval(), adapter, out)


def tensors(checkpoint: Path) -> State:
    """The parameters of a checkpoint, unpacked from what a training lays around them.

    Raises:
        AdapterError: The file cannot be read, or there are no parameters in it.
    """
    try:
        with torch.serialization.safe_globals([(_husk(name), name) for name in _foreign(checkpoint)]):
            stored = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except OSError as error:
        raise AdapterError(f"{checkpoint}: cannot be read ({error.strerror})") from error
    except Exception as error:  # torch names no class of its own for a foreign pickle
        raise AdapterError(
            f"{checkpoint}: is no checkpoint that can be read without running its code ({_reason(error)}): "
            "in the authors' code write `torch.save(net.state_dict(), path)` and bring that file"
        ) from error
    state = _parameters(stored)
    while state and all(name.startswith("module.") for name in state):  # as DataParallel calls them
        state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    if not state:
        raise AdapterError(f"{checkpoint}: holds no parameters by name: bring a state_dict")
    return state


def _reason(error: Exception) -> str:
    """What torch's reader says, without its advice to read the file by running it."""
    text = str(error)
    lines = (text.partition("WeightsUnpickler error: ")[2] or text).splitlines()
    told = [line for line in lines if line.strip() and not line.startswith("Weights only load failed")]
    return told[0].partition(". Please")[0] if told else type(error).__name__


def fill(net: nn.Module, state: Mapping[str, Tensor], spare: tuple[str, ...] = ()) -> nn.Module:
    """Lays the parameters in the net, every one.

    Args:
        net: Its parameters bear the names of the checkpoint.
        state: The checkpoint's.
        spare: Beginnings of names that the checkpoint may hold and the net has no use for.

    Returns: ``net``.

    Raises:
        AdapterError: A parameter is missing, of another shape or too much; the message names it.
    """
    own = net.state_dict()
    held = {
        name: tensor for name, tensor in state.items() if name in own or not name.startswith(spare or "\0")
    }
    shapes = [
        f"{name} {list(held[name].shape)} instead of {list(tensor.shape)}"
        for name, tensor in own.items()
        if name in held and held[name].shape != tensor.shape
    ]
    faults = [
        f"{what} {_some(names)}"
        for what, names in (
            ("it lacks", [name for name in own if name not in held and not name.endswith(_COUNTER)]),
            ("it has", shapes),
            ("nobody knows its", [name for name in held if name not in own]),
        )
        if names
    ]
    if faults:
        raise AdapterError("; ".join(faults))
    net.load_state_dict(held)
    return net


def _some(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


class _Husk:
    """What stands for an object of a class that is not to run: its attributes, and no code."""

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):  # of arrays it is a tuple, which nobody needs
            vars(self).update(state)


def _husk(name: str) -> type[_Husk]:
    return type(name.rpartition(".")[2], (_Husk,), {})


def _foreign(checkpoint: Path) -> list[str]:
    """Classes and functions of the file that torch would not read; none of a file of the time before zip."""
    try:
        return torch.serialization.get_unsafe_globals_in_checkpoint(checkpoint)
    except ValueError:  # it is no zip: torch.load says what it is
        return []


def _parameters(stored: Any) -> State:
    if isinstance(stored, _Husk):
        return dict(_of_module(stored, ""))
    if not isinstance(stored, Mapping):
        return {}
    nested = (_parameters(stored[key]) for key in _NESTS if key in stored)
    # Beside its nest a training may store a tensor of its own, such as the best accuracy.
    beside = {str(name): value for name, value in stored.items() if isinstance(value, Tensor)}
    return next(filter(None, nested), beside)


def _of_module(module: _Husk, at: str) -> list[tuple[str, Tensor]]:
    """As ``nn.Module.state_dict`` would list them."""
    own = vars(module)
    passing = own.get("_non_persistent_buffers_set", ())
    found = [
        (f"{at}{name}", tensor)
        for kind in ("_parameters", "_buffers")
        for name, tensor in own.get(kind, {}).items()
        if isinstance(tensor, Tensor) and name not in passing
    ]
    for name, child in own.get("_modules", {}).items():
        if isinstance(child, _Husk):
            found += _of_module(child, f"{at}{name}.")
    return found


def _write(net: nn.Module, adapter: Adapter, out: Path) -> None:
    rule = adapter.input
    wide, high = rule.size
    inputs = [torch.zeros((1, 3, high, wide) if rule.layout == "NCHW" else (1, high, wide, 3))]
    if rule.box:
        inputs.append(torch.tensor([[0.0, 0.0, wide, high]]))
    output = getattr(adapter.output, "output", "output")
    try:
        with torch.no_grad():
            net(*inputs)
    except RuntimeError as error:
        what = str(error).strip().splitlines()[0]
        raise AdapterError(
            f"{adapter.name}: its network cannot take {wide} x {high} ({what}): mend input.size of the "
            "adapter"
        ) from error
    partial = out.with_suffix(".partial")
    with quiet():
        torch.onnx.export(
            net,
            tuple(inputs),
            str(partial),
            input_names=[rule.name, *([rule.box] if rule.box else [])],
            output_names=["output" if output.startswith("#") else output],
            opset_version=17,
            dynamo=False,
        )
    partial.replace(out)
