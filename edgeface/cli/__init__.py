"""The command line: `analyze`, `models`, `devices`, `serve`, `watch`, `bench`, `update` and `doctor`.

This file declares the options and turns every way to end into an exit code; the commands load their parts
when they run, so that `--help` is instant on the smallest board.
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeface.cli.bench import bench_command
from edgeface.cli.doctor import doctor_command
from edgeface.cli.inputs import is_media, printable
from edgeface.cli.options import (
    backend_option,
    bundle_option,
    max_faces_option,
    smallest_face_option,
    strict_option,
    tasks_option,
    threads_option,
)
from edgeface.cli.serve import serve_command
from edgeface.cli.store import COMMANDS
from edgeface.cli.update import update_group
from edgeface.cli.watch import watch_command
from edgeface.errors import ArgumentError, BundleError, DeviceError, EdgeFaceError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["cli", "main"]

_JSON_ENDINGS = (".json", ".jsonl", ".ndjson", ".txt")

_EXIT_CODES = """\b
Exit codes:
  0    everything was analysed (also when no face was found)
  2    the command line is wrong
  3    some input could not be read; the others were analysed
  4    the bundle of models or the device is at fault
  5    something could not be written
  70   internal fault, please report it
  130  interrupted; what was written is complete
"""
_COMPILE_EXIT_CODES = """\b
Exit codes:
  0    everything maps to the Edge TPU
  2    the command line is wrong
  3    some operators stay on the CPU; the bundle was written all the same
  4    the bundle of models or the compiler is at fault
  5    the new bundle could not be written
"""


class _Group(click.Group):
    """Lists the commands in the order in which people need them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        return list(self.commands)


class _AnalyzeCommand(click.Command):
    """Lets `--json` stand before a PATH: what follows is its FILE only if it looks like one."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        found = []
        for index, word in enumerate(args):
            if word == "--":
                found += args[index:]
                break
            following = args[index + 1] if index + 1 < len(args) else "-"
            file_follows = following == "-" or following.lower().endswith(_JSON_ENDINGS)
            found.append("--json=-" if word == "--json" and not file_follows else word)
        return super().parse_args(ctx, found)


def _version(ctx: click.Context, _parameter: click.Parameter, asked: bool) -> None:
    if asked and not ctx.resilient_parsing:
        from edgeface import __version__

        click.echo(f"edgeface {__version__}")
        ctx.exit()


def _json(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and value != "-" and is_media(value):
        raise click.BadParameter(f"{value} is named like a picture or video; name a .jsonl file")
    return value


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version."
)
def cli() -> None:
    """EdgeFace describes faces: 68 landmarks, a parsing map and an expression for each.

    Everything runs on this device with the models that are built in; nothing is sent anywhere. EdgeFace does
    not recognise who somebody is.
    """


@cli.command("analyze", cls=_AnalyzeCommand, epilog=_EXIT_CODES)
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="Write overlays here."
)
@click.option(
    "--json",
    "json_",
    is_flag=False,
    flag_value="-",
    callback=_json,
    metavar="[FILE]",
    help="Write one JSON object per picture or frame (edgeface.frame/1) to FILE (.json, .jsonl, .ndjson, "
    ".txt; any name with --json=FILE), or to the standard output in place of the table.",
)
@tasks_option("What to find in each face; none for boxes alone.")
@threads_option
@max_faces_option
@click.option(
    "--min-score",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="S",
    help="Least score of a face, in place of the detector's own.",
)
@smallest_face_option
@click.option(
    "--mirror",
    is_flag=True,
    help="Ask about each face and its mirror image: more accurate; all but the detector take twice as long.",
)
@backend_option
@strict_option
@bundle_option
@click.option(
    "--recursive/--no-recursive", default=True, show_default=True, help="Search folders below a folder."
)
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but what could not be used.")
def _analyze(json_: str | None, **options: Any) -> int:
    """Find and describe the faces in pictures and videos.

    PATH is a picture (JPEG, PNG, BMP, WebP), a video file, a folder of them, or a pattern: 'photos/*.jpg'.
    A folder that a pattern matches is searched like one that is named.
    A table is printed; nothing is written unless --out or --json asks for it. Overlays are called
    NAME.faces.jpg (.png for a PNG, .mp4 for a video, without its sound); two inputs of one name get numbered
    overlays, and folders inside an input folder are kept. A second run replaces the overlays of the first.

    A file that cannot be read never stops the others; it is named at the end with the reason.
    """
    from edgeface.cli.analyze import Request, run

    return run(Request(json=json_, **options))


@cli.group(
    "models", invoke_without_command=True, subcommand_metavar="[COMMAND] [ARGS]...", epilog=_EXIT_CODES
)
@click.option("--card", metavar="TASK", help="Print the model card of one task.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print all there is to know as JSON (edgeface.models/1)."
)
@bundle_option
@click.pass_context
def _models(context: click.Context, card: str | None, as_json: bool, bundle: Path | None) -> int:
    """List the models that are built in.

    Each with its size, SHA-256, licence and measured quality; --card tells how one was made and may be used.
    The commands below prepare them for an accelerator.
    """
    command = context.invoked_subcommand
    if command is not None:
        if card is not None or as_json or bundle is not None:
            raise click.UsageError(
                f"--card and --json belong to the list alone; write --bundle behind {command}", context
            )
        return 0
    from edgeface.cli.models import card_text, show

    if card is None:
        show(bundle, as_json)
    else:
        click.echo(card_text(bundle, card))
    return 0


@_models.command("warmup", epilog=_EXIT_CODES)
@click.option(
    "--backend",
    default="onnx:tensorrt",
    show_default=True,
    metavar="NAME",
    help="What opens the models: a name that `edgeface devices` lists.",
)
@click.option("--rebuild", is_flag=True, help="Delete what was built before.")
@threads_option
@bundle_option
def _warmup(backend: str, rebuild: bool, threads: int, bundle: Path | None) -> int:
    """Open every model once, so that nothing is left to build later.

    TensorRT builds an engine for each model, which takes minutes on a Jetson; engines are kept in the cache
    folder (EDGEFACE_CACHE, or edgeface in XDG_CACHE_HOME or ~/.cache). Other backends are merely tried.
    """
    from edgeface.cli.warmup import warm_up

    warm_up(bundle, backend, threads, rebuild=rebuild)
    return 0


@_models.command("compile", epilog=_COMPILE_EXIT_CODES)
@click.option("--target", type=click.Choice(["edgetpu"]), required=True, help="What to compile for.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    metavar="FILE",
    help="The new bundle; it must not exist.",
)
@bundle_option
def _compile(target: str, out: Path, bundle: Path | None) -> int:  # noqa: ARG001  there is one target
    """Compile the models for an Edge TPU, into a bundle of both forms.

    Needs Google's edgetpu_compiler on PATH, a program for x86-64 Debian and Ubuntu; the new bundle is then
    copied to the device. Without it, what the bundle itself knows of an Edge TPU is told.
    """
    from edgeface.cli.compile import compile_bundle

    return compile_bundle(bundle, out)


for _command in COMMANDS:
    _models.add_command(_command)


@cli.command("devices", epilog=_EXIT_CODES)
@click.option("--json", "as_json", is_flag=True, help="Print all of it as JSON (edgeface.devices/1).")
@click.option("--again", is_flag=True, help="Measure anew, whatever is remembered.")
@threads_option
@bundle_option
def _devices(as_json: bool, again: bool, threads: int, bundle: Path | None) -> int:
    """Tell what can run the models here, what is chosen, and why.

    Where several backends open the models, each answers a known question, in a process of its own; who
    answers wrongly, crashes or hangs is refused, and the fastest of the others is taken. That is remembered
    in the cache folder (EDGEFACE_CACHE, or edgeface in XDG_CACHE_HOME or ~/.cache).
    """
    from edgeface.cli.devices import show

    show(bundle, as_json, again, threads)
    return 0


cli.add_command(serve_command)
cli.add_command(watch_command)
cli.add_command(bench_command)
cli.add_command(update_group)
cli.add_command(doctor_command)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line with `argv` (without the program's name, by default `sys.argv`); the exit code."""
    try:
        # not click's own main: it turns a closed pipe and Ctrl-C into codes of its own
        with cli.make_context("edgeface", list(sys.argv[1:] if argv is None else argv)) as context:
            code = int(cli.invoke(context) or 0)
        sys.stdout.flush()
    except click.exceptions.Exit as ending:
        code = ending.exit_code
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        code = 130
    except BrokenPipeError:  # the reader has seen enough (`| head`)
        _forget_output()
        code = 0
    except OSError as error:
        click.echo(f"edgeface: cannot write: {error.strerror}", err=True)
        _forget_output()
        code = 5
    except EdgeFaceError as error:
        click.echo(f"edgeface: {printable(str(error))}", err=True)
        code = _code(error)
    except Exception:  # noqa: BLE001  the last boundary: a defect gets its own exit code
        click.echo(traceback.format_exc(), err=True, nl=False)
        click.echo("edgeface: internal fault; please report it with the lines above", err=True)
        code = 70
    return code


def _forget_output() -> None:
    """Let what is still buffered go nowhere; Python would complain again when it closes the stream."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _code(error: EdgeFaceError) -> int:
    if isinstance(error, BundleError | DeviceError):
        return 4
    return 2 if isinstance(error, ArgumentError) else 3
