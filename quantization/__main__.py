"""The workshop's command line: ``python -m quantization --help``."""

from __future__ import annotations

from .commands import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
