"""Networks that the workshop did not design, from their .onnx to a .tflite that is measured against it."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from click.testing import CliRunner
from PIL import Image
from torch import nn

from edgeface import read_image
from quantization.__main__ import main
from quantization.convert import ExportError
from quantization.edgetpu import check
from quantization.foreign import Pixels, convert_tflite, image_frames, outdated
from quantization.ort import OnnxModel, onnx
from tests.quantization.foreign_nets import Branches, Odd, as_onnx, smooth_frames

pytestmark = pytest.mark.workshop

UNIT = Pixels(std=(255.0,))  # 0 to 1, as `smooth_frames` has it


@pytest.fixture(scope="module")
def odd():
    return as_onnx(Odd(), ["map", "vector"])


@pytest.fixture(scope="module")
def made(odd):
    return convert_tflite(odd, smooth_frames(20), UNIT)


def answers(tflite, image):
    """Of a .tflite with int8 image and outputs: the outputs in their own unit."""
    interpreter = Interpreter(model_content=tflite)
    interpreter.allocate_tensors()
    (entry,) = interpreter.get_input_details()
    scale, zero = entry["quantization"]
    interpreter.set_tensor(entry["index"], np.clip(np.round(image / scale) + zero, -128, 127).astype(np.int8))
    interpreter.invoke()
    found = {}
    for detail in interpreter.get_output_details():
        scale, zero = detail["quantization"]
        found[detail["name"]] = (interpreter.get_tensor(detail["index"]).astype(np.float64) - zero) * scale
    return found


def sqnr_db(wanted, found):
    return 10 * np.log10(np.square(wanted).sum() / np.square(found - wanted).sum())


def test_a_foreign_network_says_as_int8_what_its_file_says(odd, made):
    image = smooth_frames(23)[-1]
    maps, vector = OnnxModel(odd).run({"image": image})
    found = answers(made.model, image.transpose(0, 2, 3, 1))
    assert list(found) == ["map", "vector"]
    assert found["map"].shape == (1, 32, 32, 5)  # maps are channel-last in a .tflite, the rest is as it was
    assert found["vector"].shape == (1, 6)
    assert sqnr_db(maps.transpose(0, 2, 3, 1), found["map"]) > 30
    assert sqnr_db(vector, found["vector"]) > 30
    assert (made.name, made.noisy) == ("int8", ())
    assert [(o.output, o.sqnr_db > 30) for o in made.parity] == [("map", True), ("vector", True)]


def test_every_grey_level_has_its_step_at_the_input(made):
    (image,) = Interpreter(model_content=made.model).get_input_details()
    assert (image["dtype"], image["shape"].tolist()) == (np.int8, [1, 16, 16, 3])
    assert image["quantization"] == (pytest.approx(1 / 255), -128)
    assert "image: int8 [1, 16, 16, 3], scale 0.00392157, zero point -128" in made.summary()
    assert "outputs: map int8 [1, 32, 32, 5], vector int8 [1, 6]" in made.summary()
    assert Pixels((127.0,), (128.0,)).span == (-127 / 128, 1.0)
    low, high = Pixels((100.0, 120.0, 140.0), (50.0,), bgr=True).span
    assert (low, high) == (-2.8, 3.1)  # of the third channel, and of the first


def test_what_stays_float_is_named_with_its_operator_and_the_reason(made):
    (island,) = made.fallbacks
    assert not island.dynamic
    assert str(island) == "float island: EXP (Exp Exp): the quantiser has no int8 EXP"
    assert f"  {island}" in made.summary().splitlines()
    left = len(island.island.operators)
    assert f"{made.operators - left} of {made.operators} operators on fixed int8" in made.summary()


def test_the_edge_tpu_check_reads_it_and_names_where_it_would_stop(made):
    report = check(made.model)
    assert not report.fully_mapped
    assert [str(refusal) for refusal in report.refusals] == [
        "operator GELU is newer than the compiler; express it with older operators"
    ]
    problem = {f.name: str(f.problem) for f in report.operators}
    assert "not in the Edge TPU's operator table" in problem["EXP"]
    assert problem["HARD_SWISH"].endswith("use ReLU or ReLU6")


def test_a_network_of_plain_layers_maps_as_a_whole():
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU6(), nn.MaxPool2d(2), nn.Conv2d(8, 4, 1),
        nn.Upsample(scale_factor=2), nn.Sigmoid(),
    )  # fmt: skip
    plain = convert_tflite(as_onnx(net, ["map"]), smooth_frames(10), UNIT)
    assert plain.fallbacks == ()
    assert check(plain.model).fully_mapped


def test_where_int8_costs_too_much_ranges_are_found_at_run_time(odd, made):
    asked = max(o.sqnr_db for o in made.parity) + 2
    found = convert_tflite(odd, smooth_frames(20), UNIT, min_sqnr_db=asked)
    assert found.name == "int8-dynamic"
    assert found.least_db > made.least_db
    dynamic = [str(island) for island in found.fallbacks if island.dynamic]
    assert dynamic[0] == (
        "dynamic island: CONV_2D (Conv first_Conv): with fixed ranges the whole lost too much"
    )
    assert len(dynamic) == 5  # convolutions, one of them transposed, and a full connection
    assert any("SOFTMAX (of output 'vector')" in str(island) for island in found.fallbacks)


def test_an_output_that_no_form_keeps_is_named_and_costs_no_other_its_int8():
    lost = convert_tflite(as_onnx(Branches(), ["map"]), smooth_frames(10), UNIT)
    assert (lost.name, lost.noisy) == ("int8", ("map",))
    (told,) = lost.told_noisy
    assert told.startswith(f"{lost.name}: output 'map' is NOISY: ")
    assert "more --frames" in told


def test_a_network_that_takes_channel_last_images_is_taken_as_it_is():
    net = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 2, 1))
    proto = onnx.load_from_string(as_onnx(net, ["map"]))
    proto.graph.input[0].name = "rows"
    for side, size in zip(proto.graph.input[0].type.tensor_type.shape.dim, (1, 16, 16, 3), strict=True):
        side.dim_value = size
    turned = onnx.helper.make_node("Transpose", ["rows"], ["image"], name="turn", perm=[0, 3, 1, 2])
    proto.graph.node.insert(0, turned)
    frames = [frame.transpose(0, 2, 3, 1).copy() for frame in smooth_frames(10)]
    found = convert_tflite(proto.SerializeToString(), frames, UNIT)
    assert found.noisy == ()
    shapes = [d["shape"].tolist() for d in Interpreter(model_content=found.model).get_output_details()]
    assert shapes == [[1, 2, 8, 8]]  # nothing of it is moved


@pytest.fixture
def command(odd, tmp_path):
    """Runs `convert` on a file over a few pictures; the folder it writes into."""
    rng = np.random.default_rng(2)
    for i in range(6):
        small = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        small.resize((16, 16)).save(tmp_path / f"{i}.png")

    def run(model, *more):
        (tmp_path / "odd.onnx").write_bytes(model)
        words = ["convert", tmp_path / "odd.onnx", "--images", tmp_path, "--std", "255"]
        words += ["--out", tmp_path / "out", *more]
        return CliRunner().invoke(main, [str(word) for word in words])

    return run


def test_the_command_writes_it_and_check_reads_it(odd, command, tmp_path):
    done = command(odd, "--to", "tflite")
    assert done.exit_code == 0, done.output
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["odd.int8.tflite"]
    assert "int8.tflite: " in done.output
    assert "float island: EXP (Exp Exp)" in done.output
    told = CliRunner().invoke(main, ["check", str(tmp_path / "out/odd.int8.tflite")])
    assert told.exit_code == 1
    assert "operator GELU is newer" in told.output


def test_another_form_takes_the_place_of_the_earlier_one(odd, command, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    for name in ("odd.int8-weighted.tflite", "odd.int8-dynamic.tflite", "other.int8-dynamic.tflite"):
        (out / name).write_bytes(b"of an earlier run")
    done = command(odd, "--to", "tflite")
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in out.iterdir()) == ["odd.int8.tflite", "other.int8-dynamic.tflite"]
    assert f"{out / 'odd.int8-weighted.tflite'}: removed" in done.output


def test_where_no_tflite_is_made_the_earlier_one_stays():
    assert outdated("odd", ["odd.int8-u8s8.onnx"]) == ()


def test_an_operator_that_has_no_counterpart_is_named_before_anything_long_begins(odd, command, tmp_path):
    proto = onnx.load_from_string(odd)
    proto.graph.node.append(onnx.helper.make_node("NonZero", ["vector"], ["where"], name="last"))
    proto.graph.node.append(onnx.helper.make_node("Cast", ["where"], ["places"], name="as_float", to=1))
    proto.graph.output.append(onnx.helper.make_tensor_value_info("places", onnx.TensorProto.FLOAT, [2, 6]))
    done = command(proto.SerializeToString())
    assert done.exit_code == 1
    assert "NonZero" in done.output
    assert "extract_model" in done.output
    assert "--to onnx" in done.output
    assert not (tmp_path / "out").exists()


def test_a_torn_file_is_told_as_one(odd):
    with pytest.raises(ExportError, match="not an ONNX file that can be quantised"):
        convert_tflite(odd[: len(odd) // 2], smooth_frames(4), UNIT)
    with pytest.raises(ExportError, match="at least two"):
        convert_tflite(odd, smooth_frames(1), UNIT)


@pytest.mark.data
def test_a_published_detector_becomes_int8(teachers, repository, tmp_path):
    """UltraFace: its boxes are made by an exponential, which alone stays float."""
    photo = read_image(repository / "examples/astronaut.jpg").rgb
    for i in range(10):
        Image.fromarray(np.roll(photo, 31 * i, axis=1)).save(tmp_path / f"{i}.png")
    model = (teachers / "ultralight_version-RFB-320.onnx").read_bytes()
    pixels = Pixels((127.0,), (128.0,))
    made = convert_tflite(model, list(image_frames(tmp_path, model, pixels, 10)), pixels)
    assert (made.name, made.noisy) == ("int8", ())
    (island,) = made.fallbacks
    assert str(island).startswith("float island: EXP (Exp ")
    kinds = {finding.name for finding in check(made.model).operators}
    assert "TRANSPOSE" not in kinds  # the layout was moved through the whole network
