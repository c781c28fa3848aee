"""The command that writes synthetic faces to a folder, as pictures or as shards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click
import cv2
import numpy as np

from ..datasets import DataSetError
from ..datasets.shards import write_shards
from ..progress import progress
from .backgrounds import Backgrounds
from .faces import FaceMaker, Head, SyntheticFace
from .head import EXPRESSIONS
from .samples import TERMS, draw_samples

__all__ = ["synthesise", "write_faces"]


@click.command()
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path("../shared/data"),
    show_default=True,
    help="The data sets.",
)
@click.option("--count", type=click.IntRange(1), required=True, help="How many faces.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Where they go.")
@click.option("--size", type=click.IntRange(32, 2048), default=256, show_default=True, help="Pixels a side.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option(
    "--shards",
    is_flag=True,
    help="Shards for a recipe's data.shards instead: faces that show and wear something.",
)
@click.option(
    "--facing", is_flag=True, help="Of --shards: every head looks about ahead and shows an emotion."
)
def synthesise(data: Path, count: int, out: Path, size: int, seed: int, shards: bool, facing: bool) -> None:
    """Render faces of the 3D model with exact labels: PNG pictures, PNG part masks, one labels.npz."""
    maker = FaceMaker(data / "face3d" / "ict_face_model_light.npz")
    if shards:
        samples = draw_samples(maker, Backgrounds(), count, size, seed, facing)
        try:
            write_shards(out, progress("pictures", samples, count), TERMS)
        except DataSetError as error:
            raise click.ClickException(str(error)) from error
        click.echo(f"{out}: {count} pictures in shards")
        return
    if facing:
        raise click.UsageError("--facing is of --shards: give it")
    with click.progressbar(length=count, label="faces") as bar:
        write_faces(maker, out, count, size, seed, bar.update)
    click.echo(f"{out}: {count} faces")


def write_faces(
    maker: FaceMaker, out: Path, count: int, size: int, seed: int, done: Callable[[int], object] = int
) -> None:
    """Writes ``NNNNNN.png``, ``NNNNNN_mask.png`` and ``labels.npz``; face i depends on (seed, i) alone."""
    out.mkdir(parents=True, exist_ok=True)
    faces: list[SyntheticFace] = []
    for i in range(count):
        rng = np.random.default_rng([seed, i])
        corners = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        background = cv2.resize(corners, (size, size), interpolation=cv2.INTER_CUBIC)
        centre = rng.uniform(0.44, 0.56, 2) * size
        side = float(rng.uniform(0.45, 0.75)) * size
        head = Head.draw(rng, maker.model.identities, (float(centre[0]), float(centre[1])), side)
        face = maker.render(head, background)
        for name, picture in ((f"{i:06d}.png", face.image[:, :, ::-1]), (f"{i:06d}_mask.png", face.mask)):
            if not cv2.imwrite(str(out / name), picture):
                raise OSError(f"{out / name}: cannot be written")
        faces.append(face)
        done(1)
    columns = {
        name: np.stack([getattr(face, name) for face in faces])
        for name in ("points", "annotated", "visible", "box", "five", "expression")
    }
    poses = np.array([[f.pose.yaw, f.pose.pitch, f.pose.roll] for f in faces], np.float32)
    np.savez(out / "labels.npz", **columns, pose=poses, expression_names=np.array(EXPRESSIONS))
