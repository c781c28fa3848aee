from __future__ import annotations

import itertools
import re
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantization.datasets import KINDS, UNSTATED, Terms, celebamask
from quantization.tasks import RECIPES, TASKS, load_recipe, load_task
from quantization.tasks.seen import data_terms, seen, seen_in, stages
from quantization.teachers.catalogue import published, terms_of
from quantization.terms import TermsError, check_card, check_claim, weights_terms

pytestmark = pytest.mark.workshop

FREE = Terms("Open Faces (Doe, 2024)", "CC BY 4.0", commercial=True, source="https://open.example")
KIND = Terms("Kind Net (Roe, 2023)", "MIT", commercial=True, source="https://kind.example")
RESEARCH = Terms("Lab Faces (Poe, 2020)", "non-commercial research", commercial=False, source="its paper")

terms = st.builds(
    Terms,
    st.text("abcdef", min_size=1, max_size=6),
    st.sampled_from(["MIT", "Apache-2.0", "research only", "no commercial use", "non-commercial research"]),
    st.booleans(),
    st.just("somewhere"),
)


@pytest.mark.parametrize(
    ("sources", "commercial"),
    [
        ((FREE,), True),
        ((FREE, KIND), True),
        ((RESEARCH,), False),
        ((FREE, RESEARCH), False),  # a set mixed in
        ((RESEARCH, KIND), False),
        ((FREE, UNSTATED), False),  # nobody said: not allowed
        ((), False),
    ],
)
def test_commercial_use_is_allowed_where_every_source_allows_it(sources, commercial):
    assert weights_terms(*sources).commercial is commercial


def test_the_licence_names_what_binds_and_whose_it_is():
    mixed = weights_terms(FREE, RESEARCH, KIND)
    assert mixed.licence == "research only, by the terms of Lab Faces (non-commercial research)"
    assert mixed.binding == (RESEARCH,)
    assert weights_terms(KIND, FREE).licence == (
        "commercial use allowed, under the terms of Kind Net (MIT), Open Faces (CC BY 4.0)"
    )
    assert mixed.attribution == (
        "Kind Net (Roe, 2023): MIT; https://kind.example",
        "Lab Faces (Poe, 2020): non-commercial research; its paper",
        "Open Faces (Doe, 2024): CC BY 4.0; https://open.example",
    )
    assert "unstated" in weights_terms().licence


@given(st.lists(terms, max_size=5), terms)
def test_another_source_never_loosens_the_terms(sources, more):
    before, after = weights_terms(*sources), weights_terms(*sources, more)
    assert after == weights_terms(more, *reversed(sources), *sources)
    assert not (after.commercial and sources and not before.commercial)
    restricting = [t for t in (*sources, more) if not t.commercial]
    assert after.commercial is not bool(restricting)
    assert all(t.title in after.licence and t.licence in after.licence for t in restricting)
    check_claim(after.licence, after, "its own")
    inherited = after.inherited("a teacher", "here")
    assert weights_terms(inherited, FREE).commercial is after.commercial


@pytest.mark.parametrize(
    "claim",
    [
        "Apache-2.0",
        "commercial use allowed",
        "free for any use",
        "research only in January, else commercial use",
        "not research only",
        "",
    ],
)
def test_a_claim_of_more_is_refused_by_name(claim):
    derived = weights_terms(FREE, RESEARCH)
    message = r"r\.toml: claims .*Lab Faces \(Poe, 2020\) \(non-commercial research\).*train without"
    with pytest.raises(TermsError, match=message):
        check_claim(claim, derived, "r.toml")
    check_claim(claim, weights_terms(FREE, KIND), "r.toml")


@pytest.mark.parametrize(
    "claim", ["research only", "Research only: no commercial use", "non-commercial research, as the data"]
)
def test_a_claim_of_less_is_let_through(claim):
    check_claim(claim, weights_terms(RESEARCH), "r.toml")


def test_a_card_leaves_its_terms_to_pack():
    check_card("# A student\n\nFinds faces.\n{terms}\n", "card.md")
    for line in ("Free for commercial products.", "- **Licence**: MIT", "Licensed to all"):
        with pytest.raises(TermsError, match=r"card\.md:3: .*take the sentence out"):
            check_card(f"# A student\n\n{line}\n", "card.md")


def test_every_set_and_teacher_declares_its_terms():
    names = ["lfpw", "celeba_hq", "utkface", "youtube_faces", *KINDS]
    assert not any(data_terms(name).commercial for name in names)
    assert data_terms("folder") == data_terms("webdataset") == UNSTATED
    licences = {
        "yunet": "Apache-2.0",
        "ultraface": "MIT",
        "facemesh": "Apache-2.0",
        "blendshapes": "Apache-2.0",
        "mobilenet": "Apache-2.0",
        "face3d": "MIT",
    }
    assert {name: terms_of(name).licence for name in licences} == licences
    assert all(terms_of(name).commercial for name in licences)
    assert not terms_of("parsing").commercial
    assert celebamask.LAYOUT.terms.licence in terms_of("parsing").licence
    for adapter in (a for a in published() if a.name not in licences):
        declared = terms_of(adapter.name)
        assert (declared.title, declared.commercial) == (adapter.title, adapter.licence.commercial)
        assert adapter.licence.code in declared.licence
        assert adapter.licence.weights in declared.licence


def test_an_undeclared_set_or_teacher_is_refused_by_name():
    recipe = load_recipe(RECIPES / "expression.toml")
    for key, name in (("teachers", "gpt-face"), ("data", "my_holiday")):
        with pytest.raises(
            TermsError, match=rf"nobody declared the terms of a .* called '{name}': use one of"
        ):
            _ = seen_in([recipe | {"seen": {key: [name]}}]).terms
    with pytest.raises(TermsError, match="called 'my_holiday'"):
        seen_in([{"task": "parsing", "student": {"taught": ["my_holiday"]}}])


def test_a_recipe_adds_to_what_its_code_loads_and_takes_nothing_away():
    recipe = load_recipe(RECIPES / "expression.toml")
    more = seen_in([recipe | {"seen": {"data": ["rafdb", "ferplus"], "teachers": ["ddamfn-rafdb"]}}])
    assert set(more.data) == {"ferplus", "rafdb"}
    assert "votes" in more.data["ferplus"]
    assert "ddamfn" not in seen_in([recipe]).terms.licence.lower()
    assert "RAF-DB" in more.terms.licence


def test_an_earlier_course_counts(tmp_path):
    """What a student saw first it has seen, though its last recipe does not name it."""
    text = (RECIPES / "landmarks-fifth.toml").read_text()
    (share,) = re.findall(r"(?m)^share = .*$", text)
    alone = text.replace(share, "share = { lfpw = 1.0 }").replace("landmarks-fourth", "begun")
    (tmp_path / "last.toml").write_text(alone)
    with pytest.raises(TermsError, match=r"starts from 'begun', but there is no .*begun\.toml"):
        seen(tmp_path / "last.toml")
    shutil.copy(RECIPES / "landmarks-first.toml", tmp_path / "begun.toml")
    assert [path.stem for path in stages(tmp_path / "last.toml")] == ["begun", "last"]
    assert "UTKFace" in seen(tmp_path / "last.toml").terms.licence
    assert "UTKFace" not in seen_in([load_recipe(tmp_path / "last.toml")]).terms.licence


def test_what_taught_the_student_that_corrects_the_mesh_counts(tmp_path):
    text = (RECIPES / "landmarks-first.toml").read_text()
    (share,) = re.findall(r"(?m)^share = .*$", text)
    alone = text.replace(share, "share = { lfpw = 1.0 }\nrefined = 0.5")
    (tmp_path / "last.toml").write_text(f'teacher = "earlier"\n{alone}')
    shutil.copy(RECIPES / "landmarks-first.toml", tmp_path / "earlier.toml")
    assert {"utkface", "lfpw"} < set(seen(tmp_path / "last.toml").data)
    assert "facemesh" in seen(tmp_path / "last.toml").teachers
    (tmp_path / "last.toml").write_text(alone.replace("refined = 0.5", ""))
    assert set(seen(tmp_path / "last.toml").data) == {"lfpw"}


FOLDERS = {
    "lfpw": "landmarks/lfpw",
    "celebamask": "parsing/celebamask_hq",
    "celeba_hq": "parsing/celeba_hq_unlabelled",
    "utkface": "unlabelled/utkface",
    "youtube_faces": "landmarks/youtube_faces_68",
    "ferplus": "expression/ferplus",
    "face3d": "face3d",
}


@pytest.mark.parametrize("task", TASKS)
def test_what_a_student_is_said_to_have_seen_is_what_its_task_reads(task, miniature, tmp_path):
    """With the named sets alone the task loads; without any one of them it does not."""
    recipe = load_recipe(RECIPES / f"{task}.toml")
    if task == "detection":
        recipe["student"]["scenes"]["turned"] = 3  # the sets are the same, the test is shorter
    told = seen_in([recipe])
    named = [name for name in (*told.data, *told.teachers) if name in FOLDERS]

    def load(names, root):
        for name in names:
            (root / FOLDERS[name]).parent.mkdir(parents=True, exist_ok=True)
            (root / FOLDERS[name]).symlink_to(miniature.data / FOLDERS[name])
        with miniature.split():
            load_task(recipe, root, miniature.labels)

    load(named, tmp_path / "all")
    for number, some in enumerate(itertools.combinations(named, len(named) - 1)):
        with pytest.raises((OSError, ValueError, RuntimeError)):
            load(some, tmp_path / str(number))
