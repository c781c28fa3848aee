"""AFLW2000-3D (Zhu et al., 2016): 68 points of a fitted 3D face and its pose, a ``.mat`` beside each photo.

::

    ROOT/imageNNNNN.jpg
    ROOT/imageNNNNN.mat      pt3d_68 [3, 68], Pose_Para [1, 7]: pitch, yaw, roll (radians), shift, scale; ...

Points behind the face are where the 3D model has them (that is what "3D" means here); depth is left out.
They are 1-based: the authors turn a row into a coordinate by ``height + 1 - y`` (kept by cleardusk/3DDFA in
``utils/ddfa.py``). Angles keep the published signs. Source of the fields: natanielruiz/deep-head-pose
(``code/utils.py``) and YadiraF/PRNet, which read the same names.

scipy reads the files: Matlab 5 has compressed, nested elements, and a reader of our own would only be worse.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from edgeface.labels import IBUG68

from .imagefiles import find_picture, picture_size
from .reading import BROKEN, ItemError, Job, Layout, check_finite
from .sample import Sample, Terms

__all__ = ["LAYOUT"]


def _read(root: Path, path: Path) -> Sample:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        fields = loadmat(path, variable_names=["pt3d_68", "Pose_Para"])
        points, pose = fields["pt3d_68"], fields["Pose_Para"]
    except KeyError as error:
        raise ItemError(path, f"there is no {error} in it", mend="fetch it again") from error
    except (*BROKEN, MatReadError, NotImplementedError, TypeError) as error:
        raise ItemError(path, "not a Matlab 5 file", mend="fetch it again") from error
    points = check_finite(path, "pt3d_68", points, (3, len(IBUG68)))
    angles = np.degrees(check_finite(path, "Pose_Para", pose, (1, 7))[0, :3].astype(np.float64))
    picture = find_picture(path.with_suffix(""))
    picture_size(picture)
    return Sample(
        picture.relative_to(root).as_posix(),
        picture,
        "test",
        points=np.ascontiguousarray(points[:2].T) - np.float32(1),
        points_scheme=IBUG68.key,
        attributes=dict(zip(("pitch", "yaw", "roll"), angles.tolist(), strict=True)),
    )


def _jobs(root: Path) -> Iterator[Job]:
    return (partial(_read, root, path) for path in sorted(root.glob("*.mat")))


LAYOUT = Layout(
    "aflw2000",
    Terms(
        "AFLW2000-3D (Zhu et al., 2016)",
        "no licence stated; the photos are AFLW's: non-commercial research",
        commercial=False,
        source="http://www.cbsr.ia.ac.cn/users/xiangyuzhu/projects/3DDFA/main.htm",
    ),
    _jobs,
)
