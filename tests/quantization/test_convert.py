from __future__ import annotations

import logging
from collections import Counter

import numpy as np
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter
from torch import nn

from quantization.canonical import operator_name, read_model
from quantization.convert import ExportError, module_outputs, quiet, to_float_tflite

pytestmark = pytest.mark.workshop


def test_outputs_equal_the_module_one_by_one_channel_last(net, float_file):
    image = np.random.default_rng(1).uniform(-1, 1, (1, 16, 16, 3)).astype(np.float32)
    results = Interpreter(model_content=float_file).get_signature_runner()(args_0=image)
    expected = module_outputs(net, torch.from_numpy(image.transpose(0, 3, 1, 2).copy()))
    assert len(results) == len(expected) == 3
    for position, output in enumerate(expected):
        result = results[f"output_{position}"]
        np.testing.assert_allclose(result, output.permute(0, 2, 3, 1).numpy(), atol=1e-5, rtol=1e-5)


def test_batch_norms_fold_and_no_layout_change_remains(float_file):
    model = read_model(float_file)
    names = Counter(operator_name(model, operator)[0] for operator in model.subgraphs[0].operators)
    assert names["CONV_2D"] == 6
    assert names["DEPTHWISE_CONV_2D"] == 1
    assert names["RESIZE_BILINEAR"] == 1
    assert set(names) == {"CONV_2D", "DEPTHWISE_CONV_2D", "RESIZE_BILINEAR", "PAD", "ADD", "CONCATENATION"}


def test_bilinear_doubling_keeps_half_pixel_centres(float_file):
    model = read_model(float_file)
    resizes = [
        operator.builtinOptions
        for operator in model.subgraphs[0].operators
        if operator_name(model, operator)[0] == "RESIZE_BILINEAR"
    ]
    assert [(options.halfPixelCenters, options.alignCorners) for options in resizes] == [(True, False)]


def test_a_module_in_training_is_exported_as_if_in_eval_and_left_as_it_was():
    norm = nn.BatchNorm2d(3)
    norm.running_mean.fill_(0.25)
    model = nn.Sequential(nn.Conv2d(3, 3, 1), norm).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    data = to_float_tflite(model, 4, 4)
    assert model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    image = np.full((1, 4, 4, 3), 0.5, np.float32)
    (result,) = Interpreter(model_content=data).get_signature_runner()(args_0=image).values()
    (expected,) = module_outputs(model.eval(), torch.full((1, 3, 4, 4), 0.5))
    np.testing.assert_allclose(result, expected.permute(0, 2, 3, 1).numpy(), atol=1e-6)


def test_an_output_that_is_not_a_map_is_refused_by_position():
    class Flat(nn.Module):
        def forward(self, x):
            return x, x.mean(dim=(2, 3))

    with pytest.raises(ExportError, match=r"output 1 of Flat is \(1, 3\), not \[1, C, H, W\]"):
        to_float_tflite(Flat(), 4, 4)


def test_the_tools_are_quiet_and_whoever_logged_before_logs_again(caplog):
    log = logging.getLogger("a tool")
    with quiet():
        log.warning("an enum is natively supported by now")
        log.error("the network cannot be traced")
    log.warning("of ours")
    assert [record.message for record in caplog.records] == ["the network cannot be traced", "of ours"]
