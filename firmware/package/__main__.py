"""`python -m firmware.package`: build `edgeface-device` for a Debian release and an architecture."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from firmware.emulation import roots
from firmware.emulation.errors import EmulationError
from firmware.package.deb import ARCHITECTURES, build


@click.command()
@click.option("--release", type=click.Choice(sorted(roots.PYTHONS)), default="bookworm", show_default=True)
@click.option("--architecture", type=click.Choice(sorted(ARCHITECTURES)), default="arm64", show_default=True)
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default=Path("dist"), show_default=True
)
def main(release: str, architecture: str, out: Path) -> None:
    """Build the package into --out; needs pip, dpkg-deb and, for the wheels, the network."""
    try:
        click.echo(build(Path(__file__).parents[2], release, architecture, out))
    except EmulationError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
