"""`edgeface devices`: what this machine has to run the models with, what is chosen, and why."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from edgeface.bundle import Bundle
from edgeface.cache import cache_folder
from edgeface.choice import NoBackendError, choose, device_name
from edgeface.cli.inputs import printable
from edgeface.cli.quiet import without_remarks
from edgeface.errors import DeviceError
from edgeface.golden import golden_input

if TYPE_CHECKING:
    from pathlib import Path

    from edgeface.choice import Candidate, Choice

__all__ = ["show", "survey"]


def show(path: Path | None, as_json: bool, again: bool, threads: int) -> None:
    """Tell what is present and what is chosen for the models of a bundle (None: the built-in one).

    Raises:
        BundleError: the bundle is damaged.
        DeviceError: nothing here runs the models; what each backend lacks has been told then.
    """
    bundle = Bundle.builtin() if path is None else Bundle.load(path)
    with without_remarks():
        told = survey(bundle, threads, again)
    if as_json:
        click.echo(json.dumps(told, indent=2, allow_nan=False))
    else:
        _print(told)
    if told["chosen"] is None:
        raise DeviceError(
            f"no backend here runs the models of bundle {bundle.source}; mend one of those above"
        )


def _print(told: dict[str, Any]) -> None:
    click.echo(printable(told["device"]))
    rows = [["backend", "ms", ""], *([c["name"], _cell(c), c["verdict"]] for c in told["candidates"])]
    wide = max(len(row[0]) for row in rows)
    for name, milliseconds, verdict in rows:
        click.echo(f"{printable(name).ljust(wide)}  {milliseconds:>8}  {printable(verdict)}".rstrip())
    if told["chosen"] is None:
        return
    spare = f", with {told['spare']} behind it" if told["spare"] else ""
    remembered = " (remembered; --again measures anew)" if told["remembered"] else ""
    click.echo(f"chosen: {printable(told['chosen'])}{spare}: {printable(told['why'])}{remembered}")
    for task, ran in told["ran"].items():
        click.echo(f"{task}: {printable(_line(ran))}")


def survey(bundle: Bundle, threads: int, again: bool) -> dict[str, Any]:
    """What is here, in the form that ``--json`` prints (``edgeface.devices/1``).

    Every model has run once when this returns: ``ran`` is what happened, not what was planned. Where nothing
    here runs the models, ``chosen`` is None.
    """
    folder = cache_folder()
    found = {
        "schema": "edgeface.devices/1",
        "device": device_name(),
        "bundle": bundle.digest,
        "threads": threads,
        "cache": None if folder is None else str(folder),
    }
    try:
        choice = choose(tuple(bundle.models.values()), bundle, threads, again=again, survey=True)
    except NoBackendError as error:
        candidates = [_plain(candidate, "") for candidate in error.candidates]
        nothing: dict[str, Any] = {
            "chosen": None,
            "why": str(error),
            "spare": None,
            "remembered": False,
            "ran": {},
        }
        return found | {"candidates": candidates} | nothing
    return found | {
        "candidates": [_plain(candidate, choice.backend.name) for candidate in choice.candidates],
        "chosen": choice.backend.name,
        "why": choice.reason,
        "spare": None if choice.spare is None else choice.spare.name,
        "remembered": choice.remembered,
        "ran": _ran(choice, bundle, threads),
    }


def _ran(choice: Choice, bundle: Bundle, threads: int) -> dict[str, Any]:
    told = {}
    for task, spec in sorted(bundle.models.items()):
        session = choice.open(spec, bundle, threads)
        try:
            session.run(golden_input(spec))
            told[task] = session.ran.to_dict()
        finally:
            session.close()
    return told


def _plain(candidate: Candidate, taken: str) -> dict[str, Any]:
    chosen = taken in (candidate.name, f"isolated:{candidate.name}")
    verdict = candidate.verdict or ("is present and opens the models" if candidate.usable else "")
    return {
        "name": candidate.name,
        "chosen": chosen,
        "usable": candidate.usable,
        "refused": candidate.refused,
        "milliseconds": None if candidate.seconds is None else round(candidate.seconds * 1e3, 3),
        "verdict": verdict,
    }


def _cell(candidate: dict[str, Any]) -> str:
    return "" if candidate["milliseconds"] is None else f"{candidate['milliseconds']:.1f}"


def _line(ran: dict[str, Any]) -> str:
    parts = [ran["backend"], ran["delegate"] or "no delegate", ran["precision"]]
    parts.append("1 thread" if ran["threads"] == 1 else f"{ran['threads']} threads")
    if ran["cpu_operators"] is not None:
        parts.append(f"{ran['cpu_operators']} operators left on the CPU")
    if ran["degraded"]:
        parts.append("degraded: the CPU stood in")
    return ", ".join(parts)
