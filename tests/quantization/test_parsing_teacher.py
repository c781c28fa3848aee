from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter
from torch import nn
from torch.nn import functional

from quantization.label import label_parsing, load_labels, load_parsing
from quantization.tasks import RECIPES, load_recipe, load_task
from quantization.teachers.mobilenet import MobileNetV2, _stored_convolutions
from quantization.teachers.parsing import Drawer, ParsingTeacher, label_photo
from tests.quantization.miniature import draw

pytestmark = pytest.mark.workshop


class ByColour(nn.Module):
    """Blue is a nose (2), whatever is light is skin (1), the dark rest is background."""

    def __init__(self, sure: float = 60.0) -> None:
        super().__init__()
        self.sure = sure

    def forward(self, x):
        red, green, blue = x[:, 0], x[:, 1], x[:, 2]
        logits = torch.zeros(len(x), 19, *x.shape[2:])
        logits[:, 0] = self.sure * (-0.5 - torch.maximum(blue, torch.minimum(red, green)))
        logits[:, 2] = self.sure * (blue - torch.maximum(red, green) - 0.3)
        logits[:, 1] = self.sure * (torch.minimum(red, green) - 0.1)
        return (logits,)


def plain_face():
    """A face on black, so that colours say everything."""
    face = draw(3, width=160, height=140, side=60.0)
    inside = np.zeros(face.rgb.shape[:2], np.uint8)
    x, y, w, h = (float(v) for v in face.box)
    cv2.ellipse(inside, ((x + w / 2, y + h / 2), (w, h), 0.0), 1, -1)
    return face, face.rgb * inside[:, :, None]


def test_labels_lie_where_the_photo_shows_them():
    face, rgb = plain_face()
    labels = label_photo([Drawer(ByColour(), 64, (0.0, -0.07))], rgb, face.box)
    assert labels.shape == rgb.shape[:2]
    corners = face.keypoints[3:].round().astype(int)
    assert [labels[y, x] for x, y in corners] == [2, 2]
    x, y = face.keypoints[2].round().astype(int)  # between eyes and mouth: skin
    assert labels[y, x] == 1
    assert labels[tuple(np.maximum(face.box[1::-1] - 8, 0).round().astype(int))] == 0


def test_what_no_crop_reached_is_unknown():
    face = draw(5, width=400, height=300, side=40.0)
    labels = label_photo([Drawer(ByColour(), 64, (0.0, 0.0))], face.rgb, face.box)
    far = np.array([0, 299])[int(face.box[1] < 150)]
    assert (labels[far] == 255).all()
    middle = (face.box[:2] + face.box[2:] / 2).round().astype(int)
    assert labels[middle[1], middle[0]] != 255


def test_a_teacher_in_doubt_says_nothing():
    face, rgb = plain_face()
    labels = label_photo([Drawer(ByColour(sure=0.01), 64, (0.0, 0.0))], rgb, face.box)
    assert (labels == 255).all()


def test_maps_are_written_once_for_the_training_part_only(miniature, tmp_path):
    labels = tmp_path / "labels"
    labels.mkdir()
    (labels / "lfpw.npz").write_bytes((miniature.labels / "lfpw.npz").read_bytes())
    asked = []

    def ask(rgb, box):
        asked.append(box)
        return np.full(rgb.shape[:2], len(asked), np.uint8)

    found = load_labels(labels, "lfpw")
    train = [str(n) for n, p in zip(found.names, found.parts, strict=True) if p == "train"]
    assert label_parsing(miniature.data, labels, "lfpw", ask) == len(asked) == len(train)
    assert [int(load_parsing(labels, "lfpw", n).max()) for n in train] == list(range(1, len(train) + 1))
    label_parsing(miniature.data, labels, "lfpw", ask)
    assert len(asked) == len(train)
    for teacher, times in (("one", 2), ("one", 2), ("another", 3)):
        label_parsing(miniature.data, labels, "lfpw", ask, drawn_by=teacher)
        assert len(asked) == times * len(train)
    graded = next(str(n) for n, p in zip(found.names, found.parts, strict=True) if p == "validation")
    with pytest.raises(ValueError, match=r"there is no label map; write it by `label --parsing`"):
        load_parsing(labels, "lfpw", graded)


def test_the_student_is_taught_by_unannotated_photos_too(miniature):
    recipe = load_recipe(RECIPES / "parsing.toml")
    recipe["student"] |= {"taught": ["celeba_hq"], "taught_share": 1.0}
    with miniature.split():
        task = load_task(recipe, miniature.data, miniature.labels)
        recipe["student"]["taught_share"] = 0.0
        alone = load_task(recipe, miniature.data, miniature.labels)
    rng = [np.random.default_rng(7) for _ in range(2)]
    taught, annotated = task.batch(rng[0], 3), alone.batch(rng[1], 3)
    assert taught["mask"].shape == annotated["mask"].shape
    assert not torch.equal(taught["image"], annotated["image"])


def test_the_network_answers_at_the_size_of_its_crop_and_keeps_its_first_edges():
    torch.manual_seed(0)
    teacher = ParsingTeacher((16, 16, 12, 8)).train()
    (logits,) = teacher(torch.rand(2, 3, 64, 64) * 2 - 1)
    assert logits.shape == (2, 19, 64, 64)
    logits.square().mean().backward()
    assert teacher.encoder.stem[0].weight.grad is None
    assert float(teacher.encoder.blocks[8].layers[0].weight.grad.abs().max()) > 0


def test_the_backbone_has_five_strides():
    maps = MobileNetV2().eval()(torch.rand(1, 3, 96, 64))
    assert [tuple(m.shape[1:]) for m in maps] == [
        (c, 96 // s, 64 // s) for c, s in zip(MobileNetV2.channels, (2, 4, 8, 16, 32), strict=True)
    ]


@pytest.mark.data
def test_the_backbone_sees_what_the_classifier_sees(teachers, repository):
    """The stored weights, read by us and run by torch, name the same best class as LiteRT."""
    path = teachers / "tf2_mobilenet_v2_1.0_224_ptq.tflite"
    rgb = cv2.cvtColor(cv2.imread(str(repository / "examples" / "astronaut.jpg")), cv2.COLOR_BGR2RGB)
    rgb = cv2.resize(rgb, (224, 224), interpolation=cv2.INTER_AREA)
    *_, (wide, wide_bias), (last, bias) = _stored_convolutions(path)
    with torch.no_grad():
        image = torch.from_numpy(rgb).permute(2, 0, 1)[None].float() / 127.5 - 1
        deepest = MobileNetV2.pretrained(path)(image)[-1]
        code = functional.conv2d(deepest, torch.from_numpy(wide), torch.from_numpy(wide_bias))
        scores = code.clamp(0, 6).mean((2, 3)) @ torch.from_numpy(last[:, :, 0, 0]).T + torch.from_numpy(bias)
    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], rgb[None])
    interpreter.invoke()
    stored = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0]
    assert int(scores.argmax()) == int(stored.argmax())
    assert set(scores[0].topk(3).indices.tolist()) & set(stored.argsort()[-3:].tolist())
