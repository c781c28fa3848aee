"""The workshop: where EdgeFace's students are trained and turned into the int8 files a small device runs.

It is run from a checkout as ``python -m quantization`` and is never shipped to a device: the runtime,
``edgeface``, knows nothing about it. A student's way through the workshop is straight:

``recipes/``     one file per student says which teacher, data, losses, crop and targets it gets: data, not
    code.
``datasets/``    one reader per public layout; ``splits/`` holds the committed lists of names and digests.
``teachers/``    the full-size networks whose answers the students learn.
``students/``    the students themselves, in PyTorch, built only from operators that an Edge TPU can map.

Once trained, a student leaves through five rooms, each of which can be used alone:

``convert``      PyTorch module (eval, NCHW, batch 1)    -> float .tflite with NHWC tensors
``calibrate``    float .tflite + calibration frames      -> full int8 .tflite; the input is exactly ``pixel
    - 128``
``canonical``    int8 .tflite of today's writer          -> the same network, readable by kernels of TF 2.5
``edgetpu``      int8 .tflite                            -> a report: which operators an Edge TPU takes, and
    why not
``pack``         students + cards                        -> one verified bundle for ``edgeface``

``pack.export_student`` walks the first four in order and proves on the way that every output of the file is
the
"""

from __future__ import annotations

__all__: list[str] = []
