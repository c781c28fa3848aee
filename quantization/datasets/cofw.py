"""COFW (Burgos-Artizzu et al., 2013): 29 points, each occluded or not, in two Matlab 7.3 (HDF5) files.

::

    ROOT/COFW_train_color.mat      IsTr (references to pictures), phisTr [87, 1345], bboxesTr [4, 1345]
    ROOT/COFW_test_color.mat       IsT, phisT [87, 507], bboxesT [4, 507]

or the same without ``_color``, with grey pictures. Matlab stores columns first, so HDF5 shows everything
transposed: a picture is [3, W, H] or [W, H]. The 87 numbers are all x, all y, then 1 where occluded; a box is
left, top, width, height. All are taken as 1-based pixels, as Matlab counts; no text of the authors says so.
The pictures lie in the file, so samples carry pixels. Source: names, shapes and order as
HRNet/HRNet-Facial-Landmark-Detection (``lib/datasets/cofw.py``) and jhb86253817/PIPNet
(``lib/preprocess.py``) read them.

h5py reads the files: Matlab 7.3 *is* HDF5.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from .reading import BROKEN, DataSetError, ItemError, Job, Layout, check_finite, parts_wanted, require
from .sample import Sample, Terms

__all__ = ["LAYOUT"]

_POINTS = 29


def _read(path: Path, part: str, end: str, index: int) -> Sample:
    import h5py

    what = f"face {index + 1}"
    try:
        with h5py.File(path) as file:
            pixels = np.array(file[file["Is" + end][0, index]])
            numbers, box = file["phis" + end][:, index], file["bboxes" + end][:, index]
    except (*BROKEN, KeyError, TypeError) as error:
        raise ItemError(path, f"{what} is damaged", mend="fetch it again") from error
    numbers = check_finite(path, what, numbers, (3 * _POINTS,)).reshape(3, _POINTS)
    box = check_finite(path, f"{what}, box", box, (4,)) - np.array([1, 1, 0, 0], np.float32)
    if not np.isin(numbers[2], (0, 1)).all():
        raise ItemError(path, f"{what}: an occlusion is neither 0 nor 1")
    if pixels.dtype != np.uint8 or pixels.ndim not in {2, 3} or (pixels.ndim == 3 and len(pixels) != 3):
        raise ItemError(path, f"{what}: its picture is {pixels.dtype} of shape {pixels.shape}")
    return Sample(
        f"{part}/{index + 1:04d}",
        np.ascontiguousarray(pixels.T),
        part,
        boxes=box[None],
        points=np.ascontiguousarray(numbers[:2].T) - np.float32(1),
        points_scheme="cofw29",
        visible=numbers[2] == 0,
    )


def _jobs(root: Path, part: str | None = None) -> Iterator[Job]:
    import h5py

    for ours, end in parts_wanted(part, {"train": "Tr", "test": "T"}):
        path = require(root / f"COFW_{ours}_color.mat", root / f"COFW_{ours}.mat")
        try:
            with h5py.File(path) as file:
                count = file["phis" + end].shape[1]
        except (*BROKEN, KeyError) as error:
            raise DataSetError(f"{path}: not COFW's Matlab 7.3 file, fetch it again") from error
        for index in range(count):
            yield partial(_read, path, ours, end, index)


LAYOUT = Layout(
    "cofw",
    Terms(
        "COFW (Burgos-Artizzu et al., 2013)",
        "no licence known; photos from the web: taken as research only",
        commercial=False,
        source="http://www.vision.caltech.edu/xpburgos/ICCV13/",
    ),
    _jobs,
)
