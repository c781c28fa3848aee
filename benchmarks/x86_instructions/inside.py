"""Runs under callgrind: what `benchmarks.arm_instructions.inside` counts, its clock replaced by callgrind's.

    valgrind --tool=callgrind --callgrind-out-file=OUT python inside.py OUT FRAME.npy RUNS

Callgrind is talked to as its own header does it (Valgrind manual, "The Client Request mechanism"): a sequence
of instructions that does nothing on a processor. It is called through ctypes, so no compiler is needed.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from pathlib import Path

from benchmarks.arm_instructions import inside

__all__ = ["Counter"]

# mov rax, rdi; xor edx, edx; rol rdi by 3, 13, 61, 51: twice around; xchg rbx, rbx; mov rax, rdx; ret
_REQUEST = bytes.fromhex("4889f8 31d2 48c1c703 48c1c70d 48c1c73d 48c1c733 4887db 4889d0 c3")
_RUNNING_ON_VALGRIND = 0x1001
_CALLGRIND = ord("C") << 24 | ord("T") << 16
_DUMP_STATS, _ZERO_STATS, _START = _CALLGRIND, _CALLGRIND + 1, _CALLGRIND + 4


class Counter:
    """A clock that ticks once per executed instruction; its own work is not counted."""

    def __init__(self, out: Path) -> None:
        """`out`: the file that callgrind was told to write; it numbers its dumps behind a dot.

        Raises:
            SystemExit: this process does not run under valgrind.
        """
        self._out, self._dumps, self._total = out, 0, 0
        self._code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        self._code.write(_REQUEST)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self._code))
        self._call = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p)(address)
        self._arguments = (ctypes.c_uint64 * 6)()
        if not self._ask(_RUNNING_ON_VALGRIND):
            raise SystemExit("this counts under valgrind --tool=callgrind alone")
        self._ask(_START)
        self._ask(_ZERO_STATS)

    def __call__(self) -> int:
        """Executed instructions since the first call."""
        self._ask(_DUMP_STATS)
        self._dumps += 1
        dump = Path(f"{self._out}.{self._dumps}")
        with dump.open() as lines:
            self._total += next(int(line.split()[1]) for line in lines if line.startswith("summary:"))
        dump.unlink()
        self._ask(_ZERO_STATS)
        return self._total

    def _ask(self, request: int) -> int:
        self._arguments[0] = request
        return int(self._call(ctypes.addressof(self._arguments)))


if __name__ == "__main__":
    inside.perf_counter_ns = Counter(Path(sys.argv.pop(1)))
    inside.main()
