"""The label registry: orders that are fixed for ever, flips, conversions and the measures built on them."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeface import labels
from edgeface.errors import ArgumentError, ConversionError
from edgeface.labels import (
    BLENDSHAPES52,
    CELEBAMASK19,
    FER8,
    IBUG68,
    PARSING_SCHEMES,
    confusion_matrix,
    conversion,
    conversions,
    convert_labels,
    f1_per_class,
    flip_labels,
    iou_per_class,
    parsing_scheme,
)


def ids(scheme: str, *names: str) -> np.ndarray:
    return np.array([[parsing_scheme(scheme).index(name) for name in names]], dtype=np.uint8)


def names(scheme: str, array: np.ndarray) -> list[str]:
    return [parsing_scheme(scheme).names[i] for i in array.ravel()]


def test_orders_are_those_of_the_data_sets() -> None:
    assert " ".join(CELEBAMASK19.names) == (
        "background skin nose eyeglasses l_eye r_eye l_brow r_brow l_ear r_ear mouth u_lip l_lip hair hat "
        "earring necklace neck cloth"
    )
    assert [len(scheme) for scheme in PARSING_SCHEMES.values()] == [19, 11, 11, 14, 9, 8, 2]
    assert parsing_scheme("lapa").names[6:] == ("nose", "u_lip", "mouth", "l_lip", "hair")
    assert parsing_scheme("ibug14").names[11:] == ("r_ear", "l_ear", "glasses")
    assert parsing_scheme("easyportrait").names[:3] == ("background", "person", "skin")
    assert FER8.names == (
        "neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt"
    )  # fmt: skip


@pytest.mark.parametrize("scheme", PARSING_SCHEMES.values(), ids=PARSING_SCHEMES)
def test_each_scheme_is_whole(scheme: labels.ParsingScheme) -> None:
    assert scheme.names[0] == "background"
    assert len(set(scheme.names)) == len(scheme.names) == len(scheme.colours)
    assert len(set(scheme.colours)) == len(scheme.colours)
    assert scheme.colours[0] == (0, 0, 0)
    sided = {name for name in scheme.names if name.startswith(("l_", "r_")) and name != "l_lip"}
    assert {name for pair in scheme.flip_pairs for name in pair} == sided


def test_names_and_short_names_lead_to_a_scheme() -> None:
    for short, key in (("lapa", "lapa11"), ("ibug", "ibug11"), ("easyportrait", "easyportrait9")):
        assert parsing_scheme(short) is PARSING_SCHEMES[key]
    with pytest.raises(ArgumentError, match=r"'lapa12'.*celebamask19, lapa11"):
        parsing_scheme("lapa12")
    with pytest.raises(ArgumentError, match=r"no class 'beard'.*hair"):
        CELEBAMASK19.index("beard")


def test_landmark_parts_cover_all_points_once() -> None:
    covered = [i for where in IBUG68.parts.values() for i in range(68)[where]]
    assert covered == list(range(68))
    assert len(set(IBUG68.names)) == len(IBUG68) == 68
    assert (IBUG68.names[30], IBUG68.names[36]) == ("nose_bridge_3", "right_eye_0")


def test_coefficients_are_52_in_mirrored_pairs() -> None:
    names, flip = BLENDSHAPES52.names, BLENDSHAPES52.flip
    assert len(BLENDSHAPES52) == len(set(names)) == 52
    assert [flip[place] for place in flip] == list(range(52))
    swapped = {name: names[flip[i]] for i, name in enumerate(names)}
    assert swapped["eyeLookInLeft"] == "eyeLookInRight"
    assert swapped["jawLeft"] == "jawRight"
    assert {name for name in names if swapped[name] == name} == {
        "_neutral", "browInnerUp", "cheekPuff", "jawForward", "jawOpen", "mouthClose", "mouthFunnel",
        "mouthPucker", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper",
    }  # fmt: skip


def test_a_landmark_flip_swaps_sides_and_undoes_itself() -> None:
    flip = IBUG68.flip
    assert [flip[flip[i]] for i in range(68)] == list(range(68))
    for i, goal in enumerate(flip):
        mirror = re.sub("left|right", lambda m: "right" if m[0] == "left" else "left", IBUG68.names[i])
        assert IBUG68.names[goal].rsplit("_", 1)[0] == mirror.rsplit("_", 1)[0]
    # The pairs of the 300-W mark-up that every drawing of it shows.
    pairs = "0-16 17-26 21-22 31-35 36-45 37-44 41-46 39-42 48-54 60-64 49-53 59-55 61-63 67-65"
    for left, right in (pair.split("-") for pair in pairs.split()):
        assert flip[int(left)] == int(right)
    for alone in (8, 27, 30, 33, 51, 57, 62, 66):
        assert flip[alone] == alone


def test_flipped_points_are_the_points_of_the_mirrored_picture() -> None:
    points = np.random.default_rng(0).uniform(0, 100, (68, 2)).astype(np.float32)
    mirrored = IBUG68.flip_points(points, width=101)
    assert mirrored[16].tolist() == pytest.approx([100 - points[0, 0], points[0, 1]])
    assert np.allclose(IBUG68.flip_points(mirrored, width=101), points, atol=1e-4)


@pytest.mark.parametrize("key", PARSING_SCHEMES)
def test_flip_swaps_left_and_right_exactly(key: str) -> None:
    scheme = parsing_scheme(key)
    grid = np.arange(len(scheme), dtype=np.uint8)[None].repeat(2, axis=0)
    grid[1, 0] = 255
    flipped = flip_labels(grid, key)
    assert flipped[1, -1] == 255
    for column, name in enumerate(scheme.names):
        found = scheme.names[flipped[0, len(scheme) - 1 - column]]
        swapped = {"l_": "r_" + name[2:], "r_": "l_" + name[2:]}.get(name[:2], name)
        assert found == (swapped if swapped in scheme.names else name)
    assert (flip_labels(flipped, key) == grid).all()
    assert flipped.flags.c_contiguous


def test_celebamask_becomes_lapa() -> None:
    everything = np.arange(19, dtype=np.uint8)[None]
    assert " ".join(names("lapa", convert_labels(everything, "celebamask19", "lapa", lossy=True))) == (
        "background skin nose skin l_eye r_eye l_brow r_brow skin skin mouth u_lip l_lip hair "
        "background background background background background"
    )
    # LaPa's id 4 is the eye on the left of the picture: the person's right one, CelebAMask-HQ's id 5.
    assert convert_labels(np.array([[5]], dtype=np.uint8), "celebamask19", "lapa", lossy=True)[0, 0] == 4


def test_celebamask_becomes_ibug_and_easyportrait() -> None:
    parts = ("l_ear", "eyeglasses", "neck", "nose", "mouth", "u_lip", "hair", "r_brow", "background")
    source = ids("celebamask19", *parts)
    for target, expected in (
        ("ibug11", "background skin background nose mouth u_lip hair r_brow background"),
        ("ibug14", "l_ear glasses background nose mouth u_lip hair r_brow background"),
        ("easyportrait", "person person person skin teeth lips person r_brow background"),
        ("easyportrait8", "background background background skin teeth lips background r_brow background"),
        ("easyportrait2", "person person person person person person person person background"),
    ):
        assert names(target, convert_labels(source, "celebamask19", target, lossy=True)) == expected.split()


def test_a_lossy_conversion_is_refused_by_its_table_not_by_the_data() -> None:
    only_skin = ids("celebamask19", "skin")
    with pytest.raises(ConversionError, match=r"skin \+ eyeglasses \+ l_ear \+ r_ear -> skin.*lossy=True"):
        convert_labels(only_skin, "celebamask19", "lapa")
    with pytest.raises(ConversionError, match=r"cannot become easyportrait2.*easyportrait8"):
        convert_labels(ids("lapa", "skin"), "lapa", "easyportrait2", lossy=True)


@pytest.mark.parametrize("found", conversions(), ids=lambda c: f"{c.source}->{c.target}")
def test_every_conversion_is_whole_and_honest(found: labels.Conversion) -> None:
    source, target = PARSING_SCHEMES[found.source], PARSING_SCHEMES[found.target]
    assert tuple(found.mapping) == source.names
    assert found.mapping["background"] == "background"
    assert set(found.mapping.values()) | set(found.empty) == set(target.names)
    assert found.lossless == (found.lost == "")
    one_to_one = len(set(found.mapping.values())) == len(source.names)
    assert found.lossless == (one_to_one and "ears" not in found.lost)
    everything = np.arange(len(source), dtype=np.uint8)[None]
    converted = convert_labels(everything, found.source, found.target, lossy=True)
    # A mirror before is a mirror after: no side changes on the way.
    before = convert_labels(flip_labels(everything, found.source), found.source, found.target, lossy=True)
    assert (before == flip_labels(converted, found.target)).all()
    if found.lossless:
        assert (convert_labels(everything, found.source, found.target) == converted).all()
        back = np.zeros(256, dtype=np.uint8)
        back[found.table()] = np.arange(len(source))
        assert (back[converted] == everything).all()


# Twelve pixels of a face, by hand, and what each scheme calls them: LaPa and iBugMask differ in the ears.
DRAWN = {
    "celebamask19": "skin skin skin l_ear l_ear r_ear eyeglasses l_eye nose hair hair background",
    "lapa11": "skin skin skin skin skin skin skin l_eye nose hair hair background",
    "ibug11": "skin skin skin background background background skin l_eye nose hair hair background",
    "ibug14": "skin skin skin l_ear l_ear r_ear glasses l_eye nose hair hair background",
}


def drawn(scheme: str) -> np.ndarray:
    return ids(scheme, *DRAWN[scheme].split())


@pytest.mark.parametrize(
    ("source", "target", "lossless"),
    [
        ("celebamask19", "lapa11", False),
        ("celebamask19", "ibug11", False),
        ("ibug14", "lapa11", False),
        ("ibug14", "ibug11", False),
        ("ibug14", "celebamask19", True),
    ],
)
def test_ears_go_where_the_scheme_has_them(source: str, target: str, lossless: bool) -> None:
    converted = convert_labels(drawn(source), source, target, lossy=True)
    matrix = confusion_matrix(converted, drawn(target), len(parsing_scheme(target)))
    assert matrix.sum() == np.trace(matrix) == 12
    assert conversion(source, target).lossless is lossless


@pytest.mark.parametrize(
    ("source", "target", "truth", "answer"),
    [("lapa11", "ibug11", "background", "skin"), ("ibug11", "lapa11", "skin", "background")],
)
def test_lapa_and_ibug_share_their_ids_but_not_the_ears(
    source: str, target: str, truth: str, answer: str
) -> None:
    with pytest.raises(ConversionError, match=rf"{source} -> {target}.*ears, in {source}.*lossy=True"):
        convert_labels(drawn(source), source, target)
    matrix = confusion_matrix(convert_labels(drawn(source), source, target, lossy=True), drawn(target), 11)
    expected = np.zeros((11, 11), dtype=np.int64)
    index = parsing_scheme(target).index
    for name, count in {"skin": 4, "l_eye": 1, "nose": 1, "hair": 2, "background": 1}.items():
        expected[index(name), index(name)] = count
    expected[index(truth), index(answer)] = 3  # the ears
    assert matrix.tolist() == expected.tolist()


# Ten pixels of a face as somebody drew them and as a student guessed them, in CelebAMask-HQ's classes.
TRUE = "skin  l_ear earring l_brow l_brow r_brow mouth u_lip hair hat"
GUESS = "l_ear skin  r_ear   l_brow r_brow r_brow l_lip u_lip hat  background"


@pytest.mark.parametrize(
    ("target", "counts"),
    [
        # A merge forgives what it merges: skin and ears, hat and background. Sides and lips stay apart.
        (
            "lapa11",
            {
                ("skin", "skin"): 2,
                ("background", "skin"): 1,
                ("l_brow", "l_brow"): 1,
                ("l_brow", "r_brow"): 1,
                ("r_brow", "r_brow"): 1,
                ("mouth", "l_lip"): 1,
                ("u_lip", "u_lip"): 1,
                ("hair", "background"): 1,
                ("background", "background"): 1,
            },
        ),
        # Ears are background there: an ear in place of skin is a hole, in place of an earring no error.
        (
            "ibug11",
            {
                ("skin", "background"): 1,
                ("background", "skin"): 1,
                ("background", "background"): 2,
                ("l_brow", "l_brow"): 1,
                ("l_brow", "r_brow"): 1,
                ("r_brow", "r_brow"): 1,
                ("mouth", "l_lip"): 1,
                ("u_lip", "u_lip"): 1,
                ("hair", "background"): 1,
            },
        ),
        (
            "easyportrait9",
            {
                ("skin", "person"): 1,
                ("person", "skin"): 1,
                ("person", "person"): 2,
                ("l_brow", "l_brow"): 1,
                ("l_brow", "r_brow"): 1,
                ("r_brow", "r_brow"): 1,
                ("teeth", "lips"): 1,
                ("lips", "lips"): 1,
                ("person", "background"): 1,
            },
        ),
    ],
)
def test_a_confusion_matrix_made_by_hand_crosses_a_conversion(
    target: str, counts: dict[tuple[str, str], int]
) -> None:
    true, guess = (ids("celebamask19", *drawing.split()) for drawing in (TRUE, GUESS))
    there = parsing_scheme(target)
    found = confusion_matrix(
        convert_labels(guess, "celebamask19", target, lossy=True),
        convert_labels(true, "celebamask19", target, lossy=True),
        len(there),
    )
    told = {
        (there.names[row], there.names[column]): int(found[row, column]) for row, column in np.argwhere(found)
    }
    assert told == counts
    # The same as adding up the rows and columns that are merged.
    before = confusion_matrix(guess, true, len(CELEBAMASK19))
    merged = np.zeros_like(found)
    table = conversion("celebamask19", target).table()[: len(CELEBAMASK19)]
    np.add.at(merged, (table[:, None], table[None]), before)
    assert (merged == found).all()


def test_ears_inside_the_skin_make_no_skin_of_another_scheme() -> None:
    for target in ("celebamask19", "easyportrait8"):
        assert re.search(r"ears, in lapa11 part of skin", conversion("lapa11", target).lost)
    # In the background they leave a class empty, which `empty` tells and which harms none.
    for source, target in (
        ("ibug11", "ibug14"),
        ("ibug11", "celebamask19"),
        ("easyportrait8", "easyportrait9"),
    ):
        assert conversion(source, target).lossless
        assert conversion(source, target).empty


def test_the_way_over_a_third_scheme_is_the_direct_way() -> None:
    everything = np.arange(14, dtype=np.uint8)[None]
    over = convert_labels(
        convert_labels(everything, "ibug14", "celebamask19"), "celebamask19", "ibug14", lossy=True
    )
    assert (over == everything).all()


@pytest.mark.parametrize("key", PARSING_SCHEMES)
def test_a_scheme_becomes_itself_without_loss(key: str) -> None:
    assert conversion(key, key).lossless
    everything = np.arange(len(parsing_scheme(key)), dtype=np.uint8)
    same = convert_labels(everything, key, key)
    assert (same == everything).all()
    assert not np.shares_memory(same, everything)


def test_ids_outside_the_scheme_are_refused_and_ignore_stays() -> None:
    assert convert_labels(np.array([255], dtype=np.uint8), "ibug11", "ibug14")[0] == 255
    for bad in (11, 254):
        with pytest.raises(ArgumentError, match=rf"class id {bad}, but ibug11 has the ids 0 to 10"):
            convert_labels(np.array([bad], dtype=np.uint8), "ibug11", "ibug14")
    with pytest.raises(ArgumentError, match="int64"):
        flip_labels(np.array([[1]]), "lapa")  # type: ignore[arg-type]


def test_measures_on_a_matrix_made_by_hand() -> None:
    true = np.array([[0, 0, 0, 1], [1, 1, 2, 2], [2, 2, 255, 255]], dtype=np.uint8)
    pred = np.array([[0, 0, 1, 1], [1, 2, 2, 2], [2, 0, 1, 9]], dtype=np.uint8)
    matrix = confusion_matrix(pred, true, 4)
    assert matrix.tolist() == [[2, 1, 0, 0], [0, 2, 1, 0], [1, 0, 3, 0], [0, 0, 0, 0]]
    assert iou_per_class(matrix)[:3] == pytest.approx([2 / 4, 2 / 4, 3 / 5])
    assert f1_per_class(matrix)[:3] == pytest.approx([4 / 6, 4 / 6, 6 / 8])
    assert np.isnan(iou_per_class(matrix)[3])
    assert np.isnan(f1_per_class(matrix)[3])


def test_a_class_only_predicted_counts_as_zero() -> None:
    matrix = confusion_matrix(np.array([1], dtype=np.uint8), np.array([0], dtype=np.uint8), 2)
    assert f1_per_class(matrix).tolist() == [0.0, 0.0]


def test_measures_refuse_what_does_not_fit() -> None:
    one = np.zeros((2, 2), dtype=np.uint8)
    with pytest.raises(ArgumentError, match="differ in shape"):
        confusion_matrix(one, one[:1], 3)
    with pytest.raises(ArgumentError, match="n=3"):
        confusion_matrix(one + 3, one, 3)
    assert confusion_matrix(one + 3, one + 255, 3).sum() == 0
    with pytest.raises(ArgumentError, match="255"):
        confusion_matrix(one, one + 255, 3, ignore=None)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=60))
def test_confusion_adds_up_over_pictures(pairs: list[tuple[int, int]]) -> None:
    pred, true = np.array(pairs, dtype=np.uint8).T
    half = len(pairs) // 2
    whole = confusion_matrix(pred, true, 5)
    assert whole.sum() == len(pairs)
    assert (
        whole == confusion_matrix(pred[:half], true[:half], 5) + confusion_matrix(pred[half:], true[half:], 5)
    ).all()
    assert np.nanmax(iou_per_class(confusion_matrix(true, true, 5))) == 1.0
    assert np.nanmin(f1_per_class(confusion_matrix(true, true, 5))) == 1.0
