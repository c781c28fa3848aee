"""Several processes that train one network, as ``torchrun`` starts them; one process is a team of its own.

::

    TeamError(RuntimeError)    another process of the team ended, or there is no GPU; says how to go on

What comes out is what one process would have made, but for rounding and the draws of dropout:

* Batch ``k`` is the batch that one process would make. The processes take turns at making it, so none is
  made twice; each gets it whole and runs the network on its own rows.
* The loss is that of the whole batch. Losses divide by what a batch holds (faces, pixels of a class), so a
  mean of the parts' losses would be another loss: the outputs of all are gathered, and each process passes
  the gradient of the whole loss through its own rows.
* Batch norm sees the whole batch: :mod:`.shared_norm`.

The first process, the leader, alone reads and writes the folder of the run.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed
from torch import Tensor, nn

from .shared_norm import share_norms

__all__ = ["ALONE", "DEVICES", "Team", "TeamError"]

DEVICES = ("auto", "cpu", "cuda")

# The others wait while the leader grades what was learned so far.
_PATIENCE = timedelta(minutes=60)
# How the libraries say that nobody is at the other end of a connection.
_GONE = ("gloo", "NCCL", "Connection closed by peer", "Connection reset by peer", "Broken pipe")


# Seconds within which torchrun, which looks ten times a second, has seen that a process ended.
_ITS_SAY = 1.0


class TeamError(RuntimeError):
    """Another process of the team ended, from whose last checkpoint the same command goes on; or no GPU."""


@dataclass(frozen=True, slots=True)
class Team:
    """This process's place among ``size`` processes: its rank, from 0, and the device it trains on."""

    rank: int = 0
    size: int = 1
    device: str = "cpu"

    @classmethod
    def of_environment(cls, device: str = "auto") -> Team:
        """The place that ``torchrun`` gave this process, by its variables; without them it is alone.

        Args:
            device: One of `DEVICES`. By ``auto`` each process of a machine has a GPU where torch sees as
                many, and the CPU otherwise.

        Raises:
            TeamError: ``cuda`` was asked for, and torch sees too few GPUs.
        """
        place, beside = int(os.environ.get("LOCAL_RANK", "0")), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        there = torch.cuda.device_count()
        if device == "cuda" and there < beside:
            raise TeamError(
                f"--device cuda: torch sees {there} GPUs for {beside} processes; start fewer, install a "
                "torch with CUDA, or use --device cpu"
            )
        chosen = f"cuda:{place}" if device != "cpu" and there >= beside else "cpu"
        return cls(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")), chosen)

    @property
    def leads(self) -> bool:
        return self.rank == 0

    @property
    def alone(self) -> bool:
        """Nobody to talk to."""
        return self.size == 1

    @contextlib.contextmanager
    def joined(self) -> Iterator[None]:
        """Connects to the others: gloo between CPUs, and NCCL between GPUs for what lies there.

        At torchrun's word to stop the process ends at once, with the error's message and status 1.

        Raises:
            TeamError: another process ended while this one was at work.
        """
        if self.alone:
            yield
            return
        lost = TeamError(
            f"process {self.rank} of {self.size}: another process of this training ended, or torchrun was "
            "told to stop; the messages beside this one say why. The same command goes on from the last "
            "checkpoint"
        )
        listening = _Listener(f"Error: {lost}\n")
        try:
            if self.device != "cpu":
                torch.cuda.set_device(self.device)
            backend = "gloo" if self.device == "cpu" else "cpu:gloo,cuda:nccl"
            torch.distributed.init_process_group(
                backend, rank=self.rank, world_size=self.size, timeout=_PATIENCE
            )
            yield
        except Exception as error:
            if isinstance(error, RuntimeError) and any(word in str(error) for word in _GONE):
                signal.signal(signal.SIGTERM, signal.SIG_IGN)  # said once is enough
                raise lost from error
            # What breaks when another has ended may call it something else: torchrun knows, and has its say.
            time.sleep(_ITS_SAY)
            raise
        torch.distributed.destroy_process_group()
        listening.close()

    def told(self, what: Callable[[], Any]) -> Any:
        """What the leader finds by calling ``what``, in every process."""
        if self.alone:
            return what()
        said = [what() if self.leads else None]
        torch.distributed.broadcast_object_list(said, src=0)
        return said[0]

    def turns(self, steps: range) -> range:
        """The steps whose batch this process makes."""
        return steps[self.rank :: self.size]

    def deal(self, batches: Iterator[Mapping[str, Tensor]], turn: int) -> Mapping[str, Tensor]:
        """The next batch, whole, made by the process whose turn it is.

        Args:
            batches: what this process makes, in the order of its :meth:`turns`.
            turn: how many batches were dealt before.
        """
        maker = turn % self.size
        dealt = [next(batches) if maker == self.rank else None]
        if not self.alone:
            torch.distributed.broadcast_object_list(dealt, src=maker)
        return dict(dealt[0] or {})

    def own(self, image: Tensor) -> Tensor:
        """This process's rows of a batch's images."""
        return image if self.alone else image.tensor_split(self.size)[self.rank]

    def parallel(self, network: nn.Module) -> nn.Module:
        """The network as the team trains it: its gradients are the sum over all rows of a batch.

        The module itself gets norms that see the whole batch.
        """
        if self.alone:
            return network
        share_norms(network)
        # Norms that see the same batch everywhere have the same statistics everywhere.
        return nn.parallel.DistributedDataParallel(network, forward_sync_buffers=False)

    def gathered(self, outputs: tuple[Tensor, ...], count: int) -> tuple[Tensor, ...]:
        """The outputs for all ``count`` rows of a batch, on the CPU; only this process's have a gradient."""
        if self.alone:
            return tuple(output.cpu() for output in outputs)
        rows = [len(part) for part in torch.empty(count).tensor_split(self.size)]
        return tuple(self._whole(output.cpu(), rows) for output in outputs)

    def _whole(self, own: Tensor, rows: list[int]) -> Tensor:
        padded = own.new_zeros(max(rows), *own.shape[1:])
        padded[: len(own)] = own.detach()
        parts = [torch.empty_like(padded) for _ in rows]
        torch.distributed.all_gather(parts, padded)
        parts = [part[:count] for part, count in zip(parts, rows, strict=True)]
        parts[self.rank] = own
        return torch.cat(parts)

    def backward(self, loss: Tensor, outputs: tuple[Tensor, ...]) -> None:
        """Gradients of the whole batch's loss, the same in every process."""
        if self.alone:
            loss.backward()
            return
        # Averaged over the processes by DistributedDataParallel, where the sum is wanted; and it waits for
        # every parameter, where a batch without a face asks some outputs nothing.
        unasked = sum(output.sum() for output in outputs) * 0
        (loss * self.size + unasked).backward()

    def seed(self, seed: int, step: int) -> None:
        """What dropout draws from in a step: of its own in every process, and the same when resumed.

        One process on the CPU keeps the state of its draws in the checkpoint instead.
        """
        if not self.alone or self.device != "cpu":
            torch.manual_seed(int(np.random.SeedSequence([seed, step, self.rank]).generate_state(1)[0]))


ALONE = Team()
"""One process on the CPU."""


class _Listener:
    """Ends the process at SIGTERM, torchrun's word to the others when one has ended, with last ``words``.

    A thread does: a handler in Python waits until the main thread is back from a library's call, and what it
    raises there may be caught by whoever is at work. The leader writes nothing that may not be torn off.
    """

    def __init__(self, words: str) -> None:
        self._hears, self._says = os.pipe()
        os.set_blocking(self._says, False)
        self._handled = signal.signal(signal.SIGTERM, lambda *_: None)
        self._woken = signal.set_wakeup_fd(self._says, warn_on_full_buffer=False)
        threading.Thread(target=self._wait, args=(words.encode(),), daemon=True).start()

    def _wait(self, words: bytes) -> None:
        while heard := os.read(self._hears, 1):
            if heard[0] == signal.SIGTERM:
                os.write(2, words)
                os._exit(1)
        os.close(self._hears)

    def close(self) -> None:
        """Signals do again what they did before."""
        signal.set_wakeup_fd(self._woken)
        signal.signal(signal.SIGTERM, self._handled)
        os.close(self._says)
