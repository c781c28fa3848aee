"""How many operators of a graph each provider of onnxruntime holds, by onnxruntime's own account.

The list of a session's providers only says which were registered, in which order: the first of them may hold
nothing. From 1.24 on a session tells what it gave to whom when it was opened. Before, only its profile says
it: a file with one event for each operator that ran, and the provider of each.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeface.errors import DeviceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["counting"]

_ENDING = "_kernel_time"  # of the events that stand for a run; older versions have further ones around it


@contextlib.contextmanager
def counting(runtime: Any, options: Any) -> Iterator[Callable[[Any], Counter[str]]]:
    """Prepare the options of a session, so that it can be counted after its first run.

    What this gives is called with the session, once and before the context ends.

    Args:
        runtime: the module `onnxruntime`.
        options: ``SessionOptions`` of the session that is to be opened within this context.

    Raises:
        DeviceError: nobody can tell what runs where.
    """
    if hasattr(runtime.InferenceSession, "get_provider_graph_assignment_info"):
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        yield _told
        return
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="edgeface-"))
        except OSError as error:
            raise _unknown(error) from error
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder, "first-run"))
        yield _profiled


def _told(session: Any) -> Counter[str]:
    counts: Counter[str] = Counter()
    for part in session.get_provider_graph_assignment_info():
        counts[part.ep_name] += len(part.get_nodes())
    return counts


def _profiled(session: Any) -> Counter[str]:
    try:
        events = json.loads(Path(session.end_profiling()).read_bytes())
        counts = Counter(e["args"]["provider"] for e in events if e["name"].endswith(_ENDING))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _unknown(error) from error
    return counts


def _unknown(error: Exception) -> DeviceError:
    return DeviceError(
        f"onnxruntime before 1.24 says what it left on the CPU in a file alone, which failed ({error!r}); "
        "set TMPDIR to a folder that can be written, or install onnxruntime 1.24 or later"
    )
