"""A small network with every operator the students use, converted once for all tests of this folder."""

from __future__ import annotations

import stat
import sys
from importlib.util import find_spec

import numpy as np
import pytest

if find_spec("torch") is None or find_spec("litert_torch") is None or find_spec("ai_edge_quantizer") is None:
    collect_ignore_glob = ["test_*.py"]  # the workshop's toolchain is not installed
else:
    import torch
    from torch import nn
    from torch.nn import functional

    class Net(nn.Module):
        """Every operator the students use; two outputs of one shape and a spatial head."""

        def __init__(self):
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
            self.residual = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8))
            self.down = nn.Sequential(nn.Conv2d(8, 12, 3, 2, 1, bias=False), nn.BatchNorm2d(12), nn.ReLU())
            self.depthwise = nn.Sequential(
                nn.Conv2d(12, 12, 3, 1, 1, groups=12, bias=False), nn.BatchNorm2d(12), nn.ReLU6()
            )
            self.left = nn.Conv2d(20, 4, 1)
            self.right = nn.Conv2d(20, 4, 1)
            self.spatial = nn.Conv2d(12, 5, 4)

        def forward(self, x):
            fine = self.stem(x)
            fine = torch.relu(fine + self.residual(fine))
            coarse = self.depthwise(self.down(fine))
            up = functional.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)
            joined = torch.cat([fine, up], dim=1)
            return self.left(joined), self.right(joined), self.spatial(coarse)

    SIZE = 16

    def make_frames(count, seed=0):
        """Smooth random frames on the int8 grid, float [1, 16, 16, 3] in [-1, 127/128]."""
        random = np.random.default_rng(seed)
        frames = []
        for _ in range(count):
            coarse = torch.from_numpy(random.uniform(-1, 1, (1, 3, 4, 4)).astype(np.float32))
            smooth = functional.interpolate(coarse, size=(SIZE, SIZE), mode="bilinear", align_corners=False)
            pixels = np.clip(np.round(smooth.permute(0, 2, 3, 1).numpy() * 128), -128, 127)
            frames.append((pixels / 128).astype(np.float32))
        return frames

    @pytest.fixture(scope="session")
    def frames():
        return make_frames(24)

    @pytest.fixture(scope="session")
    def net(frames):
        torch.manual_seed(3)
        model = Net()
        for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
            norm.momentum = None
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.uniform_(norm.bias, -0.5, 0.5)
        with torch.no_grad():
            model.train()(torch.from_numpy(np.concatenate(frames).transpose(0, 3, 1, 2).copy()))
        return model.eval()

    @pytest.fixture(scope="session")
    def float_file(net):
        from quantization.convert import to_float_tflite

        return to_float_tflite(net, SIZE, SIZE)

    @pytest.fixture(scope="session")
    def int8_file(float_file, frames):
        """As the quantiser leaves it, not canonical yet."""
        from quantization.calibrate import to_int8_tflite

        return to_int8_tflite(float_file, frames)

    @pytest.fixture(scope="session")
    def canonical_file(int8_file):
        from quantization.canonical import canonicalise

        return canonicalise(int8_file, ["left", "right", "spatial"])

    @pytest.fixture(scope="session")
    def miniature(tmp_path_factory):
        """The public data sets, drawn small."""
        from tests.quantization.miniature import Miniature

        return Miniature.make(tmp_path_factory.mktemp("miniature"))

    @pytest.fixture(scope="session")
    def elsewhere(tmp_path_factory):
        """A Python where LiteRT answers to tflite-runtime's name, behind the old import path."""
        root = tmp_path_factory.mktemp("elsewhere")
        package, info = root / "lib/tflite_runtime", root / "lib/tflite_runtime-2.99.dist-info"
        package.mkdir(parents=True)
        info.mkdir()
        (package / "__init__.py").write_text("")
        (package / "interpreter.py").write_text("from ai_edge_litert.interpreter import Interpreter\n")
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tflite-runtime\nVersion: 2.99\n")
        script = root / "python"
        script.write_text(f'#!/bin/sh\nPYTHONPATH="{root}/lib" exec "{sys.executable}" "$@"\n')
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        return script
