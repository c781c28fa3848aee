from __future__ import annotations

import textwrap
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgeface.errors import ArgumentError, ConversionError
from edgeface.labels import BLENDSHAPES52, FER8, PARSING_SCHEMES
from quantization.__main__ import main
from quantization.teachers.adapter import AdapterError, Crop, Expression, Input, Landmarks, Parsing
from quantization.teachers.adapterfile import load_adapter
from quantization.teachers.answers import answer
from quantization.teachers.blendshapes import DEAD, MESH_SUBSET, Blendshapes, MediaPipeFace
from quantization.teachers.catalogue import (
    BUILT_IN,
    adapter_named,
    built_in,
    description,
    overview,
    published,
    terms_of,
)
from quantization.teachers.checkpoint import export_checkpoint
from quantization.teachers.crops import look
from quantization.teachers.networks.bisenet import BiSeNet
from quantization.teachers.onnx import LicenceError, OnnxTeacher

pytestmark = pytest.mark.workshop

# Of the astronaut, by YuNet: box and five points.
BOX = np.array([181.0, 53.6, 92.5, 124.0], np.float32)
POINTS = np.array([[204.6, 96.3], [246.9, 102.3], [221.7, 126.1], [200.4, 140.6], [238.5, 145.9]], np.float32)
ADAPTERS = {adapter.name: adapter for adapter in published()}


@pytest.fixture(scope="module")
def astronaut(repository):
    from edgeface import read_image

    return read_image(repository / "examples/astronaut.jpg").rgb


# models made for the test


def save(path, nodes, inputs, outputs, weights=()):
    def info(name, shape, kind=TensorProto.FLOAT):
        return helper.make_tensor_value_info(name, kind, shape)

    graph = helper.make_graph(
        nodes,
        "made",
        [info(*i) for i in inputs],
        [info(*o) for o in outputs],
        [numpy_helper.from_array(np.asarray(w), n) for n, w in weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


def tensor_shape(rule):
    wide, high = rule.size
    return [1, 3, high, wide] if rule.layout == "NCHW" else [1, high, wide, 3]


def named(name):
    return "out" if name.startswith("#") else name


def random_model(adapter, path, seed=0):
    """Random weights, and the inputs and outputs that the adapter states."""
    rule, source = adapter.output, adapter.input
    inputs = [(source.name, tensor_shape(source))]
    rng = np.random.default_rng(seed)
    if adapter.task == "parsing" or getattr(rule, "decode", "") == "centroid":
        count = len(rule.channels) if adapter.task == "parsing" else rule.count
        weights = [("w", rng.normal(0, 1, (count, 3, 1, 1)).astype(np.float32))]
        nodes = [helper.make_node("Conv", [source.name, "w"], ["maps"], strides=[4, 4])]
        shape = [1, count, None, None]
        last = "maps"
        if adapter.task == "landmarks":
            nodes.append(helper.make_node("Sigmoid", ["maps"], ["acted"]))
            last = "acted"
        elif rule.layout == "NHWC":
            nodes.append(helper.make_node("Transpose", ["maps"], ["last"], perm=[0, 2, 3, 1]))
            last, shape = "last", [1, None, None, count]
    else:
        count = len(rule.channels) if adapter.task == "expression" else 2 * rule.count
        weights = [("w", rng.normal(0, 1, (3, count)).astype(np.float32))]
        nodes = [
            helper.make_node("GlobalAveragePool", [source.name], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["flat"]),
            helper.make_node("MatMul", ["flat", "w"], ["scores"]),
        ]
        last, shape = "scores", [1, count]
        if adapter.task == "landmarks":
            nodes.append(
                helper.make_node("Tanh" if rule.decode == "signed" else "Sigmoid", ["scores"], ["squashed"])
            )
            last = "squashed"
    if source.box:
        inputs.append((source.box, [1, 4]))
        nodes += [
            helper.make_node("ReduceMean", [source.box], ["mean"], keepdims=0),
            helper.make_node("Add", [last, "mean"], ["moved"]),
        ]
        last = "moved"
    nodes.append(helper.make_node("Identity", [last], [named(rule.output)]))
    return save(path, nodes, inputs, [(named(rule.output), shape)], weights)


def constant_model(adapter, path, value):
    """Always says ``value``."""
    source = adapter.input
    nodes = [
        helper.make_node("ReduceMean", [source.name], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Add", ["value", "nothing"], [named(adapter.output.output)]),
    ]
    inputs = [(source.name, tensor_shape(source))]
    if source.box:
        inputs.append((source.box, [1, 4]))
    weights = [("zero", np.float32(0)), ("value", value)]
    return save(path, nodes, inputs, [(named(adapter.output.output), list(value.shape))], weights)


BASE = ADAPTERS["farl-landmarks"]
OPEN = replace(BASE.licence, commercial=True)


def made(crop, output, size=(64, 64), **source):
    plain = Input("input", size, "NCHW", "RGB", 255.0, (0.0,) * 3, (1.0,) * 3, "")
    return replace(BASE, licence=OPEN, sha256="", crop=crop, output=output, input=replace(plain, **source))


def crop(kind, **rule):
    plain = Crop(kind, "stretch", 1.0, (0.0, 0.0), False, False, BASE.crop.templates, 0.0, "")
    return replace(plain, **rule)


WARPS = {
    "stretch": crop("whole"),
    "letterbox": crop("whole", fit="letterbox"),
    "box": crop("box", scale=1.5, shift=(0.1, -0.05)),
    "square": crop("box", scale=1.5, square=True),
    "clipped": crop("box", scale=3.0, clip=True),
    "celebahq": crop("celebahq"),
    "points": crop("points", templates=(tuple((x / 7, y / 7) for x, y in BASE.crop.templates[0]),)),
    "tanh": crop("points", templates=(tuple((x / 7, y / 7) for x, y in BASE.crop.templates[0]),), tanh=0.8),
    "polar": crop("polar"),
}  # fmt: skip


# where the crop lies


@pytest.mark.parametrize("kind", WARPS)
@given(x=st.floats(185, 260), y=st.floats(75, 165), wide=st.integers(300, 700), high=st.integers(300, 700))
def test_the_way_into_a_crop_and_back_is_none(kind, x, y, wide, high):
    view = look(WARPS[kind], (64, 48), (wide, high), BOX, POINTS)
    point = np.array([[x, y]])
    assert view.to_frame(view.to_crop(point)) == pytest.approx(point, abs=1e-6)


def test_a_stretched_box_puts_its_edges_on_those_of_the_crop():
    view = look(crop("box", scale=1.5), (224, 112), (512, 512), BOX)
    centre, half = BOX[:2] + BOX[2:] / 2, BOX[2:] * 0.75
    assert view.to_crop(centre - half) == pytest.approx([-0.5, -0.5], abs=1e-4)
    assert view.to_crop(centre + half) == pytest.approx([223.5, 111.5], abs=1e-4)


def test_a_clipped_box_ends_at_the_picture():
    view = look(crop("box", scale=9.0, clip=True), (64, 64), (512, 400), BOX)
    assert view.to_frame(np.array([[-0.5, -0.5], [63.5, 63.5]])) == pytest.approx(
        np.array([[-0.5, -0.5], [511.5, 399.5]])
    )


@given(turn=st.floats(-3, 3), scale=st.floats(0.3, 4), x=st.floats(-50, 50))
def test_five_points_that_fit_the_template_land_on_it(turn, scale, x):
    template = np.array(BASE.crop.templates[0])
    way = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    points = template @ way.T + (x, 30)
    view = look(crop("points"), (448, 448), (512, 512), keypoints=points)
    assert view.to_crop(points) == pytest.approx(template, abs=1e-6)


@pytest.mark.parametrize("number", range(5))
def test_the_nearest_of_several_templates_is_taken(number):
    rule = ADAPTERS["ddamfn-rafdb"].crop
    points = np.array(rule.templates[number]) * 2 + 40
    view = look(rule, (112, 112), (512, 512), keypoints=points)
    assert view.to_crop(points) == pytest.approx(np.array(rule.templates[number]), abs=1e-6)


def test_farls_templates_follow_its_formula():
    standard = np.array([[196, 226], [316, 226], [256, 286], [220, 360.4], [292, 360.4]]) / 256 - 1
    # SegFace's crops of LaPa are FaRL's, at its own size.
    for name, scale in (("farl-landmarks", 0.8), ("farl-parsing-lapa", 1.0), ("segface-lapa", 1.0)):
        adapter = ADAPTERS[name]
        expected = (standard * scale + 1) * (adapter.input.size[0] - 1) / 2 - 0.5
        assert np.array(adapter.crop.templates[0]) == pytest.approx(expected, abs=1e-3)


def test_a_tanh_crop_is_straight_inside_and_shows_all_of_the_picture():
    view = look(WARPS["tanh"], (64, 64), (512, 512), keypoints=POINTS)
    plain = look(WARPS["points"], (64, 64), (512, 512), keypoints=POINTS)
    middle = plain.to_frame(np.array([[31.5, 31.5], [33.0, 28.0]]))
    assert view.to_crop(middle) == pytest.approx(plain.to_crop(middle), abs=1e-6)
    corners = view.to_crop(np.array([[0, 0], [511, 0], [0, 511], [511, 511]]))
    assert corners.min() >= -0.5
    assert corners.max() <= 63.5
    assert plain.to_crop(np.array([[511, 511]])).max() > 100


def test_a_celebahq_square_leans_with_the_eyes():
    upright = np.array([[-30, 0], [30, 0], [0, 30], [-20, 60], [20, 60]], np.float64)
    for turn in (-0.6, 0.0, 0.6):
        way = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        points = upright @ way.T + 200
        view = look(crop("celebahq"), (120, 120), (512, 512), keypoints=points)
        # eye to eye 60, eyes to mouth 60: half the side is max(2 * 60, 1.8 * 60); centre 6 below the eyes
        assert view.to_crop(points) == pytest.approx(upright * 0.5 + (59.5, 59.5 - 3), abs=1e-6)


def test_a_polar_crop_keeps_angles_and_has_the_boxs_edge_at_its_radius():
    view = look(crop("polar"), (513, 513), (600, 600), np.array([250, 200, 100, 160], np.float32))
    centre = np.array([300.0, 280.0])
    edge = np.tanh(np.sqrt(np.pi) / 2)
    for step, row in (((50, 0), 0), ((0, 80), 0.25), ((-50, 0), 0.5), ((0, -80), 0.75)):
        assert view.to_crop(centre + step) == pytest.approx((edge * 513, row * 513), abs=1e-6)
    assert view.to_crop(centre + np.array([70, 70]))[1] == pytest.approx(513 / 8, abs=1e-6)


def test_a_crop_without_what_it_goes_by_says_so():
    with pytest.raises(AdapterError, match=r"'box' goes by the face's box"):
        look(crop("box"), (64, 64), (512, 512))
    with pytest.raises(AdapterError, match=r"'celebahq' goes by the face's keypoints"):
        look(crop("celebahq"), (64, 64), (512, 512), BOX)


# from pixels to an answer and back, through onnxruntime


@pytest.mark.parametrize("kind", [k for k in WARPS if k != "polar"])
@pytest.mark.parametrize("decode", ["centroid", "argmax"])
def test_a_spot_in_the_picture_is_found_where_it_is(tmp_path, kind, decode):
    """The heatmap is the red channel itself: what is decoded must be where the spot was painted."""
    adapter = made(WARPS[kind], Landmarks("maps", decode, "none", "", 1))
    pick = np.zeros((1, 3, 1, 1), np.float32)
    pick[0, 0] = 1
    path = save(
        tmp_path / "m.onnx",
        [helper.make_node("Conv", ["input", "pick"], ["maps"])],
        [("input", [1, 3, 64, 64])],
        [("maps", [1, 1, 64, 64])],
        [("pick", pick)],
    )
    picture = np.zeros((300, 400, 3), np.uint8)
    rows, columns = np.mgrid[:300, :400]
    spot = (214, 122)
    picture[..., 0] = 255 * np.exp(-((columns - spot[0]) ** 2 + (rows - spot[1]) ** 2) / (2 * 4.0**2))
    found = OnnxTeacher(adapter, path)(picture, BOX, POINTS).points
    cell = _cell(WARPS[kind], spot)
    assert np.abs(found[0] - spot).max() < (0.75 * cell if decode == "argmax" else 0.3 * cell + 0.2)


def _cell(rule, spot):
    """Pixels of the picture per cell of the crop, at a place."""
    view = look(rule, (64, 64), (400, 300), BOX, POINTS)
    at = view.to_crop(np.array([spot], np.float64))
    return np.abs(view.to_frame(at + 0.5) - view.to_frame(at - 0.5)).max()


@pytest.mark.parametrize(("decode", "value"), [("unit", 0.25), ("signed", -0.5), ("pixels", 15.5)])
def test_numbers_become_points_by_their_convention(tmp_path, decode, value):
    """A quarter of the way from edge to edge of 64 pixels is 15.5 when centres are at integers."""
    adapter = made(WARPS["stretch"], Landmarks("maps", decode, "none", "", 5))
    path = constant_model(adapter, tmp_path / "m.onnx", np.full((1, 5, 2), value, np.float32))
    points = OnnxTeacher(adapter, path)(np.zeros((256, 128, 3), np.uint8)).points
    assert points == pytest.approx(np.tile([31.5, 63.5], (5, 1)), abs=1e-4)


@pytest.mark.parametrize("kind", WARPS)
def test_a_painted_map_comes_back_as_it_was_painted(tmp_path, kind):
    """Classes are decided by colours; the map must cover the paint."""
    size = (256, 256)
    rule = WARPS[kind]
    if rule.kind == "points":
        rule = replace(rule, templates=(tuple((x / 1.75, y / 1.75) for x, y in BASE.crop.templates[0]),))
    adapter = made(rule, Parsing("maps", "NCHW", "easyportrait2", ("person", "background"), False), size)
    # person is the red of the pixel, background what is left
    weights = np.array([[[[1.0]], [[0]], [[0]]], [[[-1.0]], [[0]], [[0]]]], np.float32)
    path = save(
        tmp_path / "m.onnx",
        [helper.make_node("Conv", ["input", "w", "b"], ["maps"])],
        [("input", [1, 3, 256, 256])],
        [("maps", [1, 2, 256, 256])],
        [("w", weights), ("b", np.array([0, 1], np.float32))],
    )
    rows, columns = np.mgrid[:300, :400]
    truth = ((columns - 222) / 30.0) ** 2 + ((rows - 118) / 42.0) ** 2 < 1
    picture = np.zeros((300, 400, 3), np.uint8)
    picture[truth] = (255, 0, 0)
    said = OnnxTeacher(adapter, path)(picture, BOX, POINTS)
    found = said.labels == 1
    assert said.probabilities.shape == (2, 256, 256)
    assert (found & truth).sum() / (found | truth).sum() > 0.96


def test_a_coarse_map_lies_where_its_cells_do():
    """16 cells over 64 pixels: the half that is class one ends at the 32nd column."""
    maps = np.zeros((2, 16, 16), np.float32)
    maps[1, :, :8] = maps[0, :, 8:] = 1
    labels = look(crop("whole"), (64, 64), (64, 64)).put_back(maps, (64, 64))
    assert (labels == (np.arange(64) < 32)).all()


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("colour", ["RGB", "BGR"])
def test_pixels_are_ordered_and_normalised_as_written(tmp_path, layout, colour):
    rule = Expression("means", ("neutral", "happiness", "fear"), softmax=False)
    adapter = made(WARPS["stretch"], rule, (8, 4), layout=layout, colour=colour, scale=100.0,
                   mean=(0.1, 0.2, 0.3), std=(0.5, 2.0, 4.0))  # fmt: skip
    axes = [2, 3] if layout == "NCHW" else [1, 2]
    path = save(
        tmp_path / "m.onnx",
        [helper.make_node("ReduceMean", ["input"], ["means"], axes=axes, keepdims=0)],
        [("input", tensor_shape(adapter.input))],
        [("means", [1, 3])],
    )
    picture = np.full((20, 30, 3), (10, 50, 200), np.uint8)
    given = np.array([10, 50, 200] if colour == "RGB" else [200, 50, 10])
    expected = (given / 100 - (0.1, 0.2, 0.3)) / (0.5, 2.0, 4.0)
    said = OnnxTeacher(adapter, path)(picture).probabilities
    assert said[[FER8.names.index(n) for n in rule.channels]] == pytest.approx(expected, abs=1e-5)


# the published ones

CELEBA = {"eye_g": "eyeglasses", "ear_r": "earring", "neck_l": "necklace", "bg": "background"}
FARL = (
    "bg neck skin cloth l_ear r_ear l_brow r_brow l_eye r_eye nose mouth l_lip u_lip hair "
    "eye_g hat ear_r neck_l"
)
ZLL = (
    "bg skin l_brow r_brow l_eye r_eye eye_g l_ear r_ear ear_r nose mouth u_lip l_lip neck "
    "neck_l cloth hair hat"
)
# facer's names of LaPa's classes, which are the person's own sides
LAPA = "background skin r_brow l_brow r_eye l_eye nose u_lip mouth l_lip hair"
ORDERS = {
    "bisenet19": ZLL,
    "segface-celebamask": FARL,
    "segface-lapa": LAPA,
    "farl-parsing-celebamask": FARL,
    "farl-parsing-lapa": LAPA,
    "faceptor-parsing": FARL,
    "rtnet11": LAPA,
    "rtnet14": LAPA + " r_ear l_ear glasses",
    # what the numbers mean: AffectNet's from 0, RAF-DB's from 1, the alphabet
    "poster-affectnet8": "neutral happiness sadness surprise fear disgust anger contempt",
    "fmae-affectnet8": "neutral happiness sadness surprise fear disgust anger contempt",
    "ddamfn-affectnet8": "neutral happiness sadness surprise fear disgust anger contempt",
    "ddamfn-rafdb": "neutral happiness sadness surprise fear disgust anger",
    "faceptor-expression": "neutral happiness sadness surprise fear disgust anger",
    "poster-rafdb": "surprise fear disgust happiness sadness anger neutral",
    "fmae-rafdb": "surprise fear disgust happiness sadness anger neutral",
    "emotieffnet-b0": "anger contempt disgust fear happiness neutral sadness surprise",
    "emotieffnet-b2": "anger contempt disgust fear happiness neutral sadness surprise",
    "emotieffnet-b0-mtl": "anger contempt disgust fear happiness neutral sadness surprise - -",
}


def test_every_published_order_is_held_against_a_list():
    ordered = {n for n, a in ADAPTERS.items() if a.task in ("parsing", "expression")}
    assert ordered == set(ORDERS)


@pytest.mark.parametrize("name", ORDERS)
def test_each_channel_becomes_the_class_that_its_author_calls_so(name):
    rule = ADAPTERS[name].output
    words = [CELEBA.get(word, word) for word in ORDERS[name].split()]
    sure = 5 * np.eye(len(words), dtype=np.float32)
    if isinstance(rule, Expression):
        for word, value in zip(words, sure, strict=True):
            said = answer(rule, {rule.output: value[None]}, None, (400, 300))
            assert said.probabilities.sum() == pytest.approx(1)
            assert word == "-" or said.label == word
        return
    value = np.repeat(sure[None, :, None], 3, axis=2)  # in column k channel k is sure
    tensors = {rule.output: value if rule.layout == "NCHW" else np.moveaxis(value, 1, -1)}
    size = (10 * len(words), 30)
    said = answer(rule, tensors, look(crop("whole"), size, size), size)
    names = PARSING_SCHEMES[said.scheme].names
    assert [names[k] for k in said.probabilities.argmax(0)[0]] == words
    assert [names[k] for k in said.labels[15, 5::10]] == words


@pytest.mark.parametrize("name", [n for n in ADAPTERS if n != "ultraface"])
def test_a_published_teacher_opens_a_model_of_its_shapes_and_answers(tmp_path, astronaut, name):
    adapter = ADAPTERS[name]
    path = random_model(adapter, tmp_path / "m.onnx")
    assert not adapter.licence.commercial
    with pytest.raises(LicenceError, match=r"--accept-licence"):
        OnnxTeacher(adapter, path)
    teacher = OnnxTeacher(adapter, path, accept_licence=True)
    said = teacher(astronaut, BOX, POINTS)
    if adapter.task == "landmarks":
        assert said.points.shape == (68, 2)
        view = look(adapter.crop, adapter.input.size, (512, 512), BOX, POINTS)
        inside = view.to_crop(said.points)
        assert inside.min() >= -0.5 - 1e-3
        assert inside.max() <= max(adapter.input.size) - 0.5 + 1e-3
    elif adapter.task == "parsing":
        assert said.labels.shape == (512, 512)
        assert len(np.unique(said.labels)) > 2
        assert said.probabilities.sum(0) == pytest.approx(1, abs=1e-4)
    else:
        assert said.probabilities.sum() == pytest.approx(1, abs=1e-5)
        for absent in adapter.output.absent:
            assert said.probabilities[FER8.names.index(absent)] == 0


def test_a_map_converts_by_the_rules_of_the_labels(tmp_path):
    adapter = ADAPTERS["rtnet11"]
    value = np.zeros((1, 11, 4, 4), np.float32)
    value[0, 2] = 5  # the person's right brow
    view = look(crop("whole"), (8, 8), (40, 30))
    said = answer(adapter.output, {"output": value}, view, (40, 30))
    assert said.converted("ibug11") is said.labels
    brow = PARSING_SCHEMES["ibug14"].index("r_brow")
    assert (said.converted("ibug14") == brow).all()
    with pytest.raises(ConversionError, match="loses"):
        said.converted("easyportrait8")
    assert (
        said.converted("easyportrait8", lossy=True) == PARSING_SCHEMES["easyportrait8"].index("r_brow")
    ).all()
    with pytest.raises(ConversionError, match="cannot become"):
        said.converted("easyportrait9")
    with pytest.raises(ArgumentError):
        said.converted("no such scheme")


@pytest.mark.data
def test_the_written_detector_finds_what_the_coded_one_does(teachers, astronaut):
    from quantization.teachers.ultraface import UltraFace

    path = teachers / "ultralight_version-RFB-320.onnx"
    expected, scores = UltraFace(path).detect(astronaut)
    said = OnnxTeacher(ADAPTERS["ultraface"], path)(astronaut)
    assert said.boxes.shape == expected.shape == (1, 4)
    assert said.boxes == pytest.approx(expected, abs=2)
    assert said.scores == pytest.approx(scores, abs=0.02)


# a file that is wrong

GOOD = """
title = "a"
source = ["b"]
verified = "c"
unverified = "d"
[licence]
code = "MIT"
weights = "e"
commercial = true
[input]
name = "input"
size = [64, 48]
layout = "NCHW"
colour = "RGB"
scale = 255
[crop]
kind = "box"
scale = 1.5
square = true
[parsing]
output = "maps"
scheme = "lapa"
channels = "scheme"
softmax = true
"""


def read(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_text(textwrap.dedent(text))
    return load_adapter(path)


def test_a_good_file_is_read(tmp_path):
    adapter = read(tmp_path, GOOD)
    assert (adapter.name, adapter.task, adapter.input.size) == ("mine", "parsing", (64, 48))
    assert adapter.output.channels == PARSING_SCHEMES["lapa11"].names
    assert adapter.output.absent == ()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('title = "a"\n', "", r"mine.toml: title is missing"),
        ('source = ["b"]', "source = []", r":3: source is \[\]: give a list of texts"),
        ("commercial = true", 'commercial = "yes"', r":9: licence.commercial is 'yes': give true or false"),
        ("size = [64, 48]", "size = [64]", r":12: input.size is \[64\]: give 2 numbers"),
        ("size = [64, 48]", "size = [64, 0]", r":12: input.size .*width and height"),
        ('layout = "NCHW"', 'layout = "CHW"', r":13: input.layout is 'CHW': give one of NCHW, NHWC"),
        ("scale = 255", "scale = 0", r":15: input.scale is 0: give a number above 0"),
        ("scale = 255", "scale = 255\nstd = [1, 0, 1]", r":16: input.std .*above 0"),
        ("scale = 255", "scale = 255\nsacle = 1", r":16: input.sacle is not a key that this table has"),
        ('kind = "box"', 'kind = "circle"', r":17: crop.kind is 'circle': give one of whole, box"),
        ('kind = "box"', 'kind = "points"', r":16: crop.templates is missing|crop.templates is missing"),
        ("square = true", "square = true\nfit = 'stretch'", r":20: crop.fit is not a key"),
        ('scheme = "lapa"', 'scheme = "lapa12"', r":22: parsing.scheme is unknown: .*celebamask19"),
        ('channels = "scheme"', 'channels = ["skin", "ear"]', r":23: parsing.channels holds 'ear', but"),
        ('channels = "scheme"', 'channels = ["skin", "skin"]', r":23: parsing.channels .*lossy = true"),
        ('channels = "scheme"', 'channels = ["-"]', r":23: parsing.channels names no class"),
        ("softmax = true", "", r"parsing.softmax is missing: give true or false"),
        ("[parsing]", "[paring]", r"has no task: exactly one of \[landmarks\]"),
        ("[parsing]", "[detection]\n[parsing]", r"has \[parsing\] and \[detection\]: exactly one"),
        ("[licence]", "sha256 = 'abc'\n[licence]", r":6: sha256 is not 64 hexadecimal digits"),
        ("[licence]", "network = 'unet'\n[licence]", r":6: network is 'unet': .* give one of bisenet"),
        ("[licence]", "licence = 3\n[terms]", r":6: licence is 3: give a table \[licence\]"),
        ("[licence]", "[licence", r"is no TOML: .*line 6"),
    ],
)  # fmt: skip
def test_a_bad_file_names_line_key_and_mend(tmp_path, old, new, message):
    assert GOOD.count(old) == 1
    with pytest.raises(AdapterError, match=message):
        read(tmp_path, GOOD.replace(old, new))


def test_two_channels_share_a_class_only_when_the_file_says_so(tmp_path):
    both = 'channels = ["skin", "skin", "hair"]\nlossy = true'
    rule = read(tmp_path, GOOD.replace('channels = "scheme"', both)).output
    value = np.log(np.array([0.3, 0.3, 0.4], np.float32)).reshape(1, 3, 1, 1)
    view = look(crop("whole"), (4, 4), (4, 4))
    said = answer(rule, {"maps": value}, view, (4, 4))
    assert said.probabilities[:, 0, 0] == pytest.approx([0, 0.6, 0, 0, 0, 0, 0, 0, 0, 0, 0.4])
    assert "nose" in rule.absent


@pytest.mark.parametrize(
    ("count", "message"),
    [("", "count is missing|68"), ("count = 67", r"landmarks.count is 67, but ibug68 has 68 points")],
)
def test_ibug68_has_68_points(tmp_path, count, message):
    text = (
        GOOD[: GOOD.index("[parsing]")]
        + f'[landmarks]\noutput = "o"\ndecode = "unit"\nscheme = "ibug68"\n{count}\n'
    )
    if not count:
        assert read(tmp_path, text).output.count == 68
        return
    with pytest.raises(AdapterError, match=message):
        read(tmp_path, text)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(AdapterError, match=r"none.toml: cannot be read \(No such file"):
        load_adapter(tmp_path / "none.toml")


# a model that is another one


def open_with(tmp_path, inputs, outputs=(("maps", [1, 11, 48, 64]),), **rule):
    weights = [("v", np.zeros(outputs[0][1], np.float32))]
    node = helper.make_node("Identity", ["v"], [outputs[0][0]])
    path = save(tmp_path / "m.onnx", [node], inputs, outputs, weights)
    adapter = read(tmp_path, GOOD)
    return OnnxTeacher(replace(adapter, **rule), path)


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        ([("image", [1, 3, 48, 64])], None, r"input.name is 'input', but the model's inputs are image"),
        ([("input", [1, 3, 64, 64])], None, r"'input' is \[1, 3, 64, 64\], but .* \[1, 3, 48, 64\]"),
        ([("input", [1, 48, 64, 3])], None, r"input.size and input.layout"),
        ([("input", [1, 3, 48, 64], TensorProto.FLOAT16)], None, r"tensor\(float16\): export it as float32"),
        ([("input", [1, 3, 48, 64]), ("rois", [1, 4])], None, r"also takes rois"),
        (None, [("logits", [1, 11, 48, 64])], r"parsing.output is 'maps', but .*outputs are logits"),
        (None, [("maps", [1, 19, 48, 64])], r"'maps' is \[1, 19, 48, 64\], but .*\[1, 11, any, any\]"),
        (None, [("maps", [1, 11])], r"'maps' is \[1, 11\]"),
    ],
)
def test_another_model_is_refused_with_key_and_mend(tmp_path, inputs, outputs, message):
    good_in, good_out = [("input", [1, 3, 48, 64])], [("maps", [1, 11, 48, 64])]
    with pytest.raises(AdapterError, match=message):
        open_with(tmp_path, inputs or good_in, outputs or good_out)


def test_lengths_that_the_model_leaves_open_are_no_mistake(tmp_path):
    open_with(tmp_path, [("input", ["batch", 3, None, None])])


def test_a_file_with_another_digest_or_no_model_is_refused(tmp_path):
    with pytest.raises(AdapterError, match=r"sha256 is [0-9a-f]{64}, but the adapter mine is for 0{64}"):
        open_with(tmp_path, [("input", [1, 3, 48, 64])], sha256="0" * 64)
    adapter = read(tmp_path, GOOD)
    with pytest.raises(AdapterError, match=r"nothing.onnx: cannot be read"):
        OnnxTeacher(adapter, tmp_path / "nothing.onnx")
    with pytest.raises(AdapterError, match=r"mine.toml: onnxruntime cannot load it"):
        OnnxTeacher(adapter, tmp_path / "mine.toml")


# BiSeNet


def parameter_names():
    """As face-parsing.PyTorch's model.py and resnet.py call them."""

    def norm(name):
        return [
            f"{name}.{p}" for p in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
        ]

    def conv_bn(name):
        return [f"{name}.conv.weight", *norm(f"{name}.bn")]

    names = ["cp.resnet.conv1.weight", *norm("cp.resnet.bn1")]
    for layer in (1, 2, 3, 4):
        for block in (0, 1):
            at = f"cp.resnet.layer{layer}.{block}"
            names += [f"{at}.conv1.weight", *norm(f"{at}.bn1"), f"{at}.conv2.weight", *norm(f"{at}.bn2")]
            if layer > 1 and block == 0:
                names += [f"{at}.downsample.0.weight", *norm(f"{at}.downsample.1")]
    for arm in ("cp.arm16", "cp.arm32"):
        names += [*conv_bn(f"{arm}.conv"), f"{arm}.conv_atten.weight", *norm(f"{arm}.bn_atten")]
    for part in ("cp.conv_head32", "cp.conv_head16", "cp.conv_avg", "ffm.convblk"):
        names += conv_bn(part)
    names += ["ffm.conv1.weight", "ffm.conv2.weight"]
    for head in ("conv_out", "conv_out16", "conv_out32"):
        names += [*conv_bn(f"{head}.conv"), f"{head}.conv_out.weight"]
    return names


@pytest.fixture(scope="module")
def bisenet():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    return BiSeNet(19).eval()


def test_bisenets_parameters_bear_the_published_names(bisenet):
    assert sorted(bisenet.state_dict()) == sorted(parameter_names())
    assert 13.2e6 < sum(p.numel() for p in bisenet.parameters()) < 13.4e6


def test_bisenets_checkpoint_becomes_the_model_of_its_adapter(tmp_path, bisenet, astronaut):
    torch.save(bisenet.state_dict(), tmp_path / "random.pth")
    adapter = ADAPTERS["bisenet19"]
    adapter = replace(adapter, input=replace(adapter.input, size=(64, 64)))
    export_checkpoint(adapter, tmp_path / "random.pth", tmp_path / "b.onnx")
    said = OnnxTeacher(adapter, tmp_path / "b.onnx", accept_licence=True)(astronaut, keypoints=POINTS)
    image = said.view.image(astronaut).astype(np.float32) / 255
    image = (image - np.float32(adapter.input.mean)) / np.float32(adapter.input.std)
    with torch.no_grad():
        expected = torch.softmax(bisenet(torch.from_numpy(image.transpose(2, 0, 1)[None])), 1)[0].numpy()
    order = [PARSING_SCHEMES["celebamask19"].names.index(n) for n in adapter.output.channels]
    assert said.probabilities[order] == pytest.approx(expected, abs=1e-4)
    assert not list(tmp_path.glob("*.partial"))


# MediaPipe's blendshapes


def test_the_blendshapes_are_52_in_mirrored_pairs():
    assert len(BLENDSHAPES52.names) == len(set(BLENDSHAPES52.names)) == 52
    swapped = {
        n.replace("Left", "?").replace("Right", "Left").replace("?", "Right") for n in BLENDSHAPES52.names
    }
    assert swapped == set(BLENDSHAPES52.names)
    # places that MediaPipe's own documentation gives
    for place, name in ((1, "browDownLeft"), (3, "browInnerUp"), (9, "eyeBlinkLeft"), (25, "jawOpen"),
                        (38, "mouthPucker"), (44, "mouthSmileLeft"), (51, "noseSneerRight")):  # fmt: skip
        assert BLENDSHAPES52.names[place] == name
    assert set(BLENDSHAPES52.names) > DEAD
    assert len(DEAD) == 9


def test_the_mesh_subset_is_146_rising_points_with_both_irises():
    assert len(MESH_SUBSET) == 146
    assert list(MESH_SUBSET) == sorted(set(MESH_SUBSET))
    assert MESH_SUBSET[-10:] == tuple(range(468, 478))


@pytest.mark.data
def test_the_astronaut_smiles(teachers, astronaut):
    path = teachers / "mediapipe_face_landmarker.task"
    face = MediaPipeFace(path)
    mesh, shapes, presence = face(astronaut, BOX)
    said = dict(zip(BLENDSHAPES52.names, shapes.tolist(), strict=True))
    assert presence > 0.99
    assert mesh.shape == (478, 2)
    assert min(said["mouthSmileLeft"], said["mouthSmileRight"]) > 0.7
    assert max(said[n] for n in ("mouthFrownLeft", "mouthPucker", "jawOpen", "eyeBlinkLeft")) < 0.2
    assert max(said[n] for n in DEAD) < 0.01
    assert sorted(said, key=said.get)[-2:] in (
        ["mouthSmileLeft", "mouthSmileRight"],
        ["mouthSmileRight", "mouthSmileLeft"],
    )
    # pixels go in as they are: neither place nor size of the face in the picture counts
    assert Blendshapes(path)(mesh * 2.5 + 300) == pytest.approx(shapes, abs=1e-3)


@pytest.mark.data
@pytest.mark.parametrize(
    ("side", "upper", "lower"),
    [
        ("Left", (384, 385, 386, 387, 388), (381, 380, 374, 373, 390)),
        ("Right", (157, 158, 159, 160, 161), (154, 153, 145, 144, 163)),
    ],
)
def test_an_eye_that_closes_is_the_persons_own_left_or_right(teachers, astronaut, side, upper, lower):
    path = teachers / "mediapipe_face_landmarker.task"
    mesh, shapes, _ = MediaPipeFace(path)(astronaut, BOX)
    assert (mesh[list(upper), 0].mean() > mesh[1, 0]) == (side == "Left")  # right of the nose in the picture
    mesh[list(upper)] = mesh[list(lower)]
    change = dict(zip(BLENDSHAPES52.names, (Blendshapes(path)(mesh) - shapes).tolist(), strict=True))
    assert max(change, key=change.get) == f"eyeBlink{side}"


# the command


def run(*arguments):
    return CliRunner().invoke(main, ["teachers", *map(str, arguments)])


def test_the_command_lists_every_teacher_with_its_terms():
    said = run()
    assert said.exit_code == 0
    assert said.output.strip() == overview().strip()
    for name in (*ADAPTERS, "yunet", "blendshapes"):
        assert f"\n{name} " in "\n" + said.output
    assert said.output.count("verified: ") == len(ADAPTERS) + 3


@pytest.mark.parametrize("name", ADAPTERS)
def test_a_description_tells_terms_sources_and_what_was_not_tried(name):
    told = " ".join(description(adapter_named(name)).split())
    adapter = ADAPTERS[name]
    assert told.index("licence:") < told.index("input:")
    assert adapter.licence.weights in told
    assert ("needs --accept-licence" in told) != adapter.licence.commercial
    assert adapter.unverified in told
    for source in adapter.source:
        assert source.split(" ")[0] in told


def test_the_command_shows_the_terms_and_opens_only_when_they_are_accepted(tmp_path, repository):
    model = random_model(ADAPTERS["segface-lapa"], tmp_path / "m.onnx")
    refused = run("segface-lapa", "--model", model)
    assert refused.exit_code == 1
    assert "LaPa: non-commercial research" in refused.output
    assert "--accept-licence" in refused.output
    # The same of the whole picture, for which no detector is needed.
    text = (repository / "quantization/teachers/published/segface-lapa.toml").read_text()
    before, crop = text.index("[crop]"), text.index("[parsing]")
    (tmp_path / "own.toml").write_text(
        f'{text[:before]}[crop]\nkind = "whole"\nfit = "stretch"\n\n{text[crop:]}'
    )
    opened = run(tmp_path / "own.toml", "--model", model, "--accept-licence")
    assert opened.exit_code == 0, opened.output
    assert opened.output.index("licence:") < opened.output.index("r_brow")


@pytest.mark.parametrize("own", BUILT_IN, ids=lambda own: own.name)
def test_every_teacher_that_is_listed_can_be_asked_for_by_its_name(own):
    said = run(own.name)
    assert said.exit_code == 0, said.output
    told = " ".join(said.output.split())
    assert told.index("licence: ") < told.index(f"task: {own.task}")
    assert terms_of(own.name).licence in told
    assert own.file in told
    with pytest.raises(AdapterError, match=f"{own.name} has code of its own here and no adapter"):
        adapter_named(own.name)


@pytest.mark.data
@pytest.mark.parametrize(
    ("own", "says"),
    [("yunet", "face at ["), ("facemesh", "478 points within"), ("blendshapes", "mouthSmileLeft  ")],
)
def test_a_teacher_with_code_of_its_own_is_tried_on_the_astronaut(own, says, teachers):
    said = run(own, "--model", teachers / built_in(own).file, "--teachers", teachers)
    assert said.exit_code == 0, said.output
    assert says in said.output


def test_the_command_names_what_it_cannot_do(tmp_path):
    assert "use one of bisenet19" in run("nobody").output
    model = tmp_path / "m.onnx"
    checkpoint = tmp_path / "c.pth"
    checkpoint.write_bytes(b"x")
    said = run("ultraface", "--model", model, "--checkpoint", checkpoint, "--accept-licence")
    assert "no network of this package reads its checkpoint: follow its `export`" in said.output
    random_model(ADAPTERS["rtnet11"], model)
    said = run("rtnet11", "--model", model, "--teachers", tmp_path, "--accept-licence")
    assert "say where it lies with --teachers" in said.output
