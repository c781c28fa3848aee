from __future__ import annotations

import json
from functools import partial

import pytest

from quantization.chain import ChainError, GateError, Step, only_one, plan, run

pytestmark = pytest.mark.workshop


class Kitchen:
    """Three steps: flour and water make dough, dough makes bread, bread is tasted."""

    def __init__(self, root):
        self.root, self.cooked, self.said = root, [], []
        self.salt, self.bad, self.fails = 1, [], False
        (root / "flour").write_text("white")

    def _write(self, name, *sources):
        self.cooked.append(name)
        if self.fails:
            raise RuntimeError("the oven is cold")
        text = "+".join((self.root / source).read_text() for source in sources)
        (self.root / name).write_text(text)

    def steps(self, **more):
        def step(name, settings, source, **options):
            path = self.root / source
            work = partial(self._write, name, source)
            return Step(name, settings, {source: path}, {name: self.root / name}, work, **options)

        return [
            step("dough", {}, "flour", **more),
            step("bread", {"salt": self.salt}, "dough", gates=lambda: self.bad),
            step("taste", {}, "bread"),
        ]

    def run(self, **more):
        self.cooked.clear()
        self.said.clear()
        run(self.steps(**more), self.root / "state", self.said.append)
        return self.cooked

    def plan(self, **more):
        return {p.step.name: p.reason for p in plan(self.steps(**more), self.root / "state")}


@pytest.fixture
def kitchen(tmp_path):
    return Kitchen(tmp_path)


def test_everything_once_and_nothing_twice(kitchen):
    assert kitchen.plan() == {"dough": "dough is missing", "bread": "after dough", "taste": "after bread"}
    assert kitchen.run() == ["dough", "bread", "taste"]
    assert kitchen.plan() == {"dough": None, "bread": None, "taste": None}
    assert kitchen.run() == []
    assert kitchen.said == ["dough: up to date", "bread: up to date", "taste: up to date"]


def test_a_changed_setting_redoes_its_step_and_what_follows_only_if_it_changed(kitchen):
    kitchen.run()
    kitchen.salt = 2
    assert kitchen.plan() == {"dough": None, "bread": "salt 1 -> 2", "taste": "after bread"}
    assert kitchen.run() == ["bread"]  # the same bread came out of it
    (kitchen.root / "flour").write_text("rye")
    assert kitchen.plan()["dough"] == "flour changed"
    assert kitchen.run() == ["dough", "bread", "taste"]


def test_a_step_waits_for_the_last_of_those_that_it_reads_from(kitchen):
    first, second, _ = kitchen.steps()
    reads = {"bread": kitchen.root / "bread", "dough": kitchen.root / "dough"}
    both = Step("feast", {}, reads, {"feast": kitchen.root / "feast"}, lambda: None)
    told = {p.step.name: p.reason for p in plan([first, second, both], kitchen.root / "state")}
    assert told["feast"] == "after bread"


def test_what_somebody_spoiled_or_took_is_made_again(kitchen):
    kitchen.run()
    (kitchen.root / "bread").write_text("mould")
    assert kitchen.plan()["bread"] == "bread is not what was written"
    assert kitchen.run() == ["bread"]
    (kitchen.root / "taste").unlink()
    assert kitchen.plan()["taste"] == "taste is missing"
    assert kitchen.run() == ["taste"]


def test_what_was_begun_is_gone_on_with_and_of_other_inputs_removed(kitchen):
    kitchen.run()
    (kitchen.root / "flour").write_text("rye")
    kitchen.fails = True
    with pytest.raises(ChainError, match="dough: the oven is cold"):
        kitchen.run()
    assert not (kitchen.root / "dough").exists()  # white dough is no beginning of a rye one
    assert kitchen.plan()["dough"] == "was begun and not finished"
    (kitchen.root / "dough").write_text("half of it")
    with pytest.raises(ChainError):
        kitchen.run()
    assert (kitchen.root / "dough").read_text() == "half of it"
    kitchen.fails = False
    assert kitchen.run() == ["dough", "bread", "taste"]
    assert (kitchen.root / "taste").read_text() == "rye"


def test_work_that_knows_what_to_keep_keeps_it(kitchen):
    kitchen.run(goes_on=True)
    (kitchen.root / "flour").write_text("rye")
    kitchen.fails = True
    with pytest.raises(ChainError):
        kitchen.run(goes_on=True)
    assert (kitchen.root / "dough").read_text() == "white"


def test_what_others_made_is_taken_as_it_is(kitchen):
    (kitchen.root / "dough").write_text("bought")
    assert kitchen.plan(adopts=True)["dough"] == "made by another command, taken as it is"
    assert kitchen.run(adopts=True) == ["bread", "taste"]
    assert (kitchen.root / "taste").read_text() == "bought"
    assert kitchen.plan(adopts=True)["dough"] is None
    (kitchen.root / "flour").write_text("rye")
    assert kitchen.run(adopts=True) == ["dough", "bread", "taste"]


def test_a_gate_stops_what_follows_each_time_until_it_holds(kitchen):
    kitchen.bad = ["crust: 3, bound 2", "crumb: 0, wanted >= 1"]
    for _ in range(2):
        with pytest.raises(GateError, match=r"bread: crust: 3, bound 2; crumb: 0, wanted >= 1"):
            kitchen.run()
        assert not (kitchen.root / "taste").exists()
    assert kitchen.cooked == []  # what was measured is not measured again
    kitchen.bad = []
    assert kitchen.run() == ["taste"]


def test_a_missing_ingredient_is_named(kitchen):
    (kitchen.root / "flour").unlink()
    with pytest.raises(ChainError, match=r"dough: not there: flour, .*flour"):
        kitchen.run()
    assert kitchen.cooked == []


def test_the_time_of_an_earlier_run_is_the_estimate(kitchen):
    kitchen.run()
    path = kitchen.root / "state/bread.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"seconds": 12.5}))
    kitchen.salt = 3
    assert [p.seconds for p in plan(kitchen.steps(), kitchen.root / "state")][1] == 12.5


def test_two_builds_do_not_share_a_folder(tmp_path):
    with (
        only_one(tmp_path),
        pytest.raises(ChainError, match="another build is at work"),
        only_one(tmp_path),
    ):
        pass
    with only_one(tmp_path):
        pass
