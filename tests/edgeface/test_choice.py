"""Which backend is taken, why, and that finding it out costs nothing where there is nothing to choose."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeface import cache, choice
from edgeface.analyzer import FaceAnalyzer
from edgeface.backends import probe
from edgeface.backends.base import Backend, create, known
from edgeface.backends.isolated import Deadlines, IsolatedBackend
from edgeface.backends.litert import LiteRTBackend, LiteRTSession
from edgeface.backends.nvidia import Board
from edgeface.backends.scripted import ScriptedBackend
from edgeface.backends.tensorrt import TensorRTOptions
from edgeface.bundle import Bundle, encode_bundle
from edgeface.choice import Choice, choose, taken
from edgeface.cli.compile import _header
from edgeface.errors import BundleError, DeviceError
from edgeface.golden import golden_digest, golden_input, is_right
from edgeface.results import BBox, Ran
from tests import faulty
from tests.bundles import TINY, opened
from tests.edgeface.backends import delegates, onnx_models

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="isolation needs Linux")


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    """The fixture's expression model alone: every probe starts a process."""
    return small()


def small(**changes: Any) -> Bundle:
    """A bundle of the expression model, its header changed; an artifact "same" holds the same network."""
    tiny = Bundle.load(TINY)
    header, _ = opened(TINY.read_bytes())
    header.pop("artifacts")
    model = {**header["models"]["expression"], **changes}
    content = tiny.artifact(model["artifact"])
    written = encode_bundle(
        {**header, "models": {"expression": model}, "cards": {}},
        {model["artifact"]: content, **({"same": content} if changes.get("variants") else {})},
    )
    return Bundle.from_bytes(written)


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("EDGEFACE_CACHE", str(folder))
    return folder


@pytest.fixture
def other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make another distribution's backend known that behaves as its argument says."""

    def behave(mode: str) -> None:
        monkeypatch.setenv("EDGEFACE_FAULTY", mode)
        if not (tmp_path / "faulty-1.0.dist-info").exists():
            faulty.installed(tmp_path, monkeypatch)

    return behave


def chosen(bundle: Bundle, **options: Any) -> Choice:
    return choose(tuple(bundle.models.values()), bundle, 1, **options)


def test_alone_litert_is_taken_without_a_measurement(
    bundle: Bundle, cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "measure", None)
    found = chosen(bundle)
    assert (found.backend.name, found.spare) == ("litert", None)
    assert found.reason == "no other backend here opens these models"
    assert [candidate.name for candidate in found.candidates] == ["litert"]
    assert not cache_folder.exists()


@pytest.mark.parametrize(
    ("source", "said"), [(delegates.CRASHING, "SIGSEGV"), (delegates.REFUSING, "no TPU answers")]
)
def test_the_only_backend_is_probed_in_a_process_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, said: str
) -> None:
    """A library that crashes ends a child and not the application, though nothing else opens the models."""
    monkeypatch.setenv("EDGEFACE_LIBEDGETPU", delegates.build(tmp_path, source))
    with pytest.raises(DeviceError, match=f"every backend that is present was refused: .*{said}"):
        chosen(delegates.bundle())


def test_the_only_backend_runs_isolated_where_it_answers_rightly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEFACE_LIBEDGETPU", delegates.build(tmp_path, delegates.ACCEPTING))
    right = {"logits": delegates.expected(golden_input(delegates.SPEC)["image"])}
    bundle = delegates.bundle(golden_digest(delegates.SPEC, right))
    found = chosen(bundle, strict=True)
    assert (found.backend.name, found.spare) == ("isolated:edgetpu", None)
    assert found.reason == "no other backend here opens these models"
    assert chosen(bundle).remembered
    session = found.open(bundle.model("expression"), bundle, 1)
    np.testing.assert_array_equal(session.run(golden_input(delegates.SPEC))["logits"], right["logits"])
    session.close()
    with pytest.raises(DeviceError, match=r"every backend that is present was refused: .*answers wrongly"):
        chosen(delegates.bundle("0" * 64))


def test_the_fastest_of_those_that_answer_rightly_is_taken_isolated_and_with_a_spare(
    bundle: Bundle, other: Any, monkeypatch: pytest.MonkeyPatch, cache_folder: Path
) -> None:
    other("fast")
    monkeypatch.setattr(choice, "_WORTH", 1e9)  # a loaded machine makes any process of its own slow
    found = chosen(bundle)
    seconds = {candidate.name: candidate.seconds for candidate in found.candidates}
    quickest = min(seconds, key=lambda name: seconds[name] or 0)
    assert found.backend.name == {"faulty": "isolated:faulty", "litert": "litert"}[quickest]
    assert all(candidate.usable and candidate.seconds for candidate in found.candidates)
    assert len(list(cache_folder.iterdir())) == 1


def test_a_wrong_answer_is_refused_and_strict_tells(bundle: Bundle, other: Any) -> None:
    other("good")  # its answers have the right shape and nothing to do with the model
    found = chosen(bundle)
    assert (found.backend.name, found.spare) == ("litert", None)
    assert found.reason == "every other backend that is present was refused"
    refused = found.candidates[1]
    assert (refused.name, refused.refused, refused.usable, refused.seconds) == ("faulty", True, False, None)
    assert "'faulty': answers wrongly for 'expression'" in refused.verdict
    with pytest.raises(DeviceError, match=r"strict: .*'faulty': answers wrongly"):
        chosen(bundle, strict=True)


@pytest.mark.parametrize(("mode", "said"), [("open-segv", "SIGSEGV"), ("open-raise", "pulled out")])
def test_a_runtime_that_crashes_in_the_probe_harms_nobody(
    bundle: Bundle, other: Any, mode: str, said: str
) -> None:
    other(mode)
    found = chosen(bundle)
    assert found.backend.name == "litert"
    assert said in found.candidates[1].verdict


def test_what_must_be_built_first_is_not_waited_for_and_taken_when_it_was(
    bundle: Bundle, other: Any, cache_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other("fast")
    built = tmp_path / "built"
    monkeypatch.setenv("EDGEFACE_FAULTY_BUILT", str(built))
    monkeypatch.setattr(choice, "_WORTH", 1e9)
    with monkeypatch.context() as patch:
        patch.setattr(choice, "measure", None)
        found = chosen(bundle)
        with pytest.raises(DeviceError, match=r"strict: .*run: edgeface models warmup --backend faulty"):
            chosen(bundle, strict=True)
    assert (found.backend.name, found.reason) == (
        "litert",
        "every other backend that is present was refused",
    )
    unready = found.candidates[1]
    assert (unready.usable, unready.refused, unready.unready) == (False, True, True)
    assert "takes minutes; run: edgeface models warmup --backend faulty --bundle FILE" in unready.verdict
    assert not cache_folder.exists()
    built.mkdir()
    (built / bundle.artifacts[0].sha256).touch()
    assert chosen(bundle).candidates[1].usable


def test_an_engine_of_other_options_is_looked_at_when_it_was_built(
    monkeypatch: pytest.MonkeyPatch, cache_folder: Path
) -> None:
    """Whoever ran `models warmup --backend onnx:tensorrt:fp16` has chosen what "auto" may take."""
    pytest.importorskip("onnxruntime", reason="needs the extra: pip install 'edgeface[onnx]'")
    monkeypatch.setattr("edgeface.backends.onnx.read_board", lambda: Board("36.4.3", "12.6", driver=True))
    header = _header(Bundle.load(TINY), {"parsing": onnx_models.SPEC}) | {"cards": {}}
    content = onnx_models.student()
    bundle = Bundle.from_bytes(encode_bundle(header, {onnx_models.SPEC.artifact: content}))
    specs = tuple(bundle.models.values())

    def found() -> dict[str, choice.Candidate]:
        return {one.name: one for one in probe.look(specs, bundle, survey=False)[0]}

    assert set(found()) == {"onnx", "onnx:cuda", "onnx:tensorrt"}
    assert (found()["onnx:tensorrt"].refused, found()["onnx:tensorrt"].unready) == (True, True)
    engines = TensorRTOptions(int8=False).folders(content, "1.22.0")[0]
    engines.mkdir(parents=True)
    (engines / "kernel_fp16_sm87.engine").write_bytes(b"kept")
    now = found()
    assert list(now) == ["onnx", "onnx:cuda", "onnx:tensorrt", "onnx:tensorrt:fp16"]
    assert now["onnx:tensorrt:fp16"].usable
    plain = now["onnx:tensorrt"]
    assert (plain.usable, plain.refused, plain.unready) == (False, False, True)


def test_an_engine_that_is_built_anew_in_the_probe_is_refused_and_not_remembered(
    bundle: Bundle, other: Any, cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other("open-sleep")
    made = probe.create

    def impatient(name: str) -> Backend:
        return IsolatedBackend("faulty", Deadlines(open=0.5)) if name == "isolated:faulty" else made(name)

    with monkeypatch.context() as patch:
        patch.setattr(probe, "create", impatient)
        found = chosen(bundle)
    assert found.backend.name == "litert"
    assert "gave no answer within 0.5 s" in found.candidates[1].verdict
    assert "run: edgeface models warmup --backend faulty" in found.candidates[1].verdict
    assert not cache_folder.exists()
    other("fast")
    assert not chosen(bundle).remembered
    assert cache_folder.exists()


def test_what_is_absent_is_told_and_costs_no_measurement(
    bundle: Bundle, other: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    other("absent")
    monkeypatch.setattr(choice, "measure", None)
    found = chosen(bundle, strict=True)  # what is not there is not fallen back from
    assert found.backend.name == "litert"
    assert found.candidates[1].verdict == "backend 'faulty': there is no such device; plug it in"


def test_a_decision_is_remembered_until_something_changes(
    bundle: Bundle, other: Any, cache_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other("open-segv")
    answer = {candidate.name: candidate for candidate in of(litert=0.001, faulty=None)}
    measured = []
    monkeypatch.setattr(choice, "measure", lambda *_: measured.append(1) or answer)
    first, second = chosen(bundle), chosen(bundle)
    assert (first.remembered, second.remembered, measured) == (False, True, [1])
    assert second.candidates == first.candidates
    assert not chosen(bundle, again=True).remembered
    assert not chosen(small(description="another model")).remembered
    (tmp_path / "driver-2.0.dist-info").mkdir()  # something was installed
    assert not chosen(bundle).remembered
    (tmp_path / "python3_driver-1.0.egg-info").write_text("")  # as apt installs
    assert not chosen(bundle).remembered
    assert chosen(bundle).remembered
    library = tmp_path / "libedgetpu.so.1"
    library.write_text("16.0")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    assert not chosen(bundle).remembered
    assert chosen(bundle).remembered
    library.write_text("16.0 rebuilt")
    assert not chosen(bundle).remembered
    assert len(measured) == 7
    now = choice.time.time()
    monkeypatch.setattr(choice.time, "time", lambda: now + 2 * 86400)  # a refusal is not believed for ever
    assert not chosen(bundle).remembered


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", "{}", '{"at": 1}', '{"at": "now", "candidates": []}', '{"at": 9e99, "candidates": [{}]}'],
)
def test_a_damaged_memory_is_measured_anew(
    bundle: Bundle, other: Any, cache_folder: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other("fast")
    answer = {name: choice.Candidate(name, True, 0.001) for name in ("litert", "faulty")}
    monkeypatch.setattr(choice, "measure", lambda *_: answer)
    chosen(bundle)
    (file,) = cache_folder.iterdir()
    assert chosen(bundle).remembered
    file.write_text(text)
    assert not chosen(bundle).remembered
    kept = json.loads(file.read_text())
    kept["candidates"][0]["seconds"] = "fast"
    file.write_text(json.dumps(kept))
    assert not chosen(bundle).remembered


@pytest.mark.parametrize("kind", ["a file", "read-only", "nowhere"])
def test_a_cache_that_cannot_be_written_breaks_nothing(
    bundle: Bundle, other: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    other("fast")
    folder = tmp_path / "no"
    if kind == "a file":
        folder.write_text("")
    else:
        folder = Path("/proc/nothing") if kind == "read-only" else tmp_path / ("x" * 300)
    monkeypatch.setenv("EDGEFACE_CACHE", str(folder))
    answer = {name: choice.Candidate(name, True, 0.001) for name in ("litert", "faulty")}
    monkeypatch.setattr(choice, "measure", lambda *_: answer)
    assert chosen(bundle).reason == chosen(bundle).reason == "it is the fastest of those that answer rightly"
    assert cache.recall("choice") is None


def test_a_backend_that_apt_installed_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian's packages leave the older kind of metadata."""
    faulty.installed(tmp_path, monkeypatch)
    metadata = (tmp_path / "faulty-1.0.dist-info").rename(tmp_path / "faulty-1.0.egg-info")
    (metadata / "METADATA").rename(metadata / "PKG-INFO")
    assert "faulty" in known()
    assert create("faulty").name == "faulty"


def test_the_cache_folder_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("EDGEFACE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.cache_folder() == tmp_path / "edgeface"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.cache_folder() == tmp_path / ".cache" / "edgeface"


def of(**seconds: float | None) -> tuple[choice.Candidate, ...]:
    return tuple(choice.Candidate(n, s is not None, s, n, s is None) for n, s in seconds.items())


@pytest.mark.parametrize(
    ("candidates", "name", "spare"),
    [
        (of(litert=10, faulty=1), "isolated:faulty", "litert"),
        (of(litert=10, faulty=8.5), "litert", None),
        (of(litert=10, faulty=11), "litert", None),
        (of(litert=10, faulty=None), "litert", None),
        (of(litert=None, faulty=3), "isolated:faulty", None),
    ],
)
def test_another_backend_must_be_clearly_faster(
    other: Any, candidates: tuple[choice.Candidate, ...], name: str, spare: str | None
) -> None:
    other("good")
    backends: dict[str, Backend] = {"litert": LiteRTBackend()}
    found = choice._best(candidates, backends, strict=False, remembered=False)
    assert (found.backend.name, found.spare and found.spare.name) == (name, spare)
    assert found.reason
    if all(candidate.usable for candidate in candidates):
        assert choice._best(candidates, backends, strict=True, remembered=False).spare is None


def test_everybody_refused_is_an_error_with_the_reasons() -> None:
    with pytest.raises(DeviceError, match="every backend that is present was refused: litert; faulty"):
        choice._best(of(litert=None, faulty=None), {}, strict=False, remembered=False)


def test_nobody_opens_the_format() -> None:
    odd = small(format="engine")
    with pytest.raises(DeviceError, match="no backend opens the models of bundle"):
        chosen(odd)
    with pytest.raises(DeviceError, match=r"'litert': opens models of the formats \['tflite'\].*engine"):
        FaceAnalyzer(["expression"], bundle=odd, backend="litert")
    found = chosen_all = choose((), odd, 1, survey=True)
    assert {c.name for c in chosen_all.candidates} >= {"litert", "edgetpu", "onnx"}
    assert found.backend.name == "litert"


def test_the_bundles_digest_decides_where_there_is_one(bundle: Bundle) -> None:
    spec = bundle.model("expression")
    right = LiteRTBackend().open(spec, bundle.artifact(spec.artifact), 1).run(golden_input(spec))
    wrong = {name: value + np.int8(50) for name, value in right.items()}
    near = {name: value ^ np.int8(1) for name, value in right.items()}
    with_digest = small(golden=golden_digest(spec, right)).model("expression")
    assert is_right(with_digest, right, None)
    assert not is_right(with_digest, near, None)
    assert is_right(with_digest, near, right)
    assert not is_right(with_digest, wrong, right)
    assert not is_right(spec, wrong, right)
    assert is_right(spec, near, right)
    assert is_right(spec, wrong, None)  # nobody can tell


def test_a_bundle_of_several_formats_serves_each_backend_its_own() -> None:
    bundle = small(format="engine", variants={"tflite": "same"})
    spec = bundle.model("expression")
    assert spec.formats == {"engine", "tflite"}
    assert spec.for_formats(frozenset({"tflite"})).artifact == "same"
    assert spec.for_formats(frozenset({"tflite", "engine"})) is spec
    with pytest.raises(BundleError, match=r"holds the formats \['engine', 'tflite'\], none of \['onnx'\]"):
        spec.for_formats(frozenset({"onnx"}))
    frame = np.zeros((50, 50, 3), np.uint8)
    with FaceAnalyzer(["expression"], bundle=bundle) as analyzer:
        result = analyzer.analyze(frame, boxes=[BBox(5, 5, 20, 20)])
        told = analyzer.describe()
    assert result.ran == {"expression": Ran("litert", "XNNPACK", None, "int8", 1)}
    assert told["models"]["expression"]["artifact"] == "same"
    assert told["models"]["expression"]["ran"] == result.ran["expression"].to_dict()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"variants": {"onnx": "nowhere"}}, r"variants\.onnx: the bundle holds no artifact 'nowhere'"),
        ({"variants": {"tflite": "same"}}, "'tflite' is the model's own format already"),
        ({"variants": {"ONNX": "same"}}, "'ONNX' is no format"),
        ({"variants": ["same"]}, "variants: must be an object"),
        ({"variants": {"onnx": 3}}, r"variants\.onnx: must be one line"),
        ({"golden": "abc"}, r"golden: must be 64 hexadecimal digits"),
        ({"golden": 7}, r"golden: must be 64 hexadecimal digits"),
    ],
)
def test_a_wrong_header_is_refused_with_its_place(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(BundleError, match=rf"models\.expression.*{said}|{said}"):
        small(**changes)


def test_strict_refuses_what_runs_worse_than_it_looks(
    bundle: Bundle, other: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame, boxes = np.zeros((50, 50, 3), np.uint8), [BBox(5, 5, 20, 20)]
    other("good")
    with FaceAnalyzer(["expression"], bundle=bundle, backend="faulty") as analyzer:
        assert analyzer.analyze(frame, boxes).ran["expression"].cpu_operators == 3
    with (
        FaceAnalyzer(["expression"], bundle=bundle, backend="faulty", strict=True) as analyzer,
        pytest.raises(DeviceError, match="'expression': faulty left 3 operators on the CPU"),
    ):
        analyzer.analyze(frame, boxes)
    with FaceAnalyzer(["expression"], bundle=bundle, backend="litert", strict=True) as analyzer:
        assert not analyzer.analyze(frame, boxes).degraded
        assert analyzer.describe()["strict"] is True
    monkeypatch.setattr(LiteRTSession, "ran", Ran("litert", None))
    with (
        FaceAnalyzer(["expression"], bundle=bundle, backend="litert", strict=True) as analyzer,
        pytest.raises(DeviceError, match="LiteRT runs without XNNPACK"),
    ):
        analyzer.analyze(frame, boxes)


def test_a_session_of_an_earlier_version_says_what_is_known_of_it(bundle: Bundle) -> None:
    class Quiet:
        def __init__(self, inner: Any) -> None:
            self.run, self.close = inner.run, inner.close

    class Old(ScriptedBackend):
        def open(self, *arguments: Any) -> Any:
            return Quiet(super().open(*arguments))

    backend = Old({"expression": {}})
    with FaceAnalyzer(["expression"], bundle=bundle, backend=backend) as analyzer:
        result = analyzer.analyze(np.zeros((50, 50, 3), np.uint8), boxes=[BBox(5, 5, 20, 20)])
    assert result.ran == {"expression": Ran("scripted", precision="int8")}


def test_the_one_that_was_asked_for_runs_alone_unless_a_spare_is_wanted(bundle: Bundle, other: Any) -> None:
    found = taken(LiteRTBackend(), [bundle.model("expression")])
    assert (found.reason, found.spare, found.candidates) == ("it was asked for", None, ())
    other("good")
    spec = bundle.model("expression")
    assert taken(create("isolated:faulty"), [spec]).spare is None
    assert isinstance(taken(create("isolated:faulty"), [spec], spare=True).spare, LiteRTBackend)
    for itself in ("litert", "isolated:litert"):
        assert taken(create(itself), [spec], spare=True).spare is None


def test_no_spare_without_a_file_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEFACE_LIBEDGETPU", delegates.build(tmp_path, delegates.ACCEPTING))
    assert taken(create("edgetpu"), [delegates.SPEC], spare=True).spare is None


def test_where_litert_is_not_installed_others_run_without_a_spare(
    bundle: Bundle, other: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    other("fast")
    for name in ("ai_edge_litert", "tflite_runtime"):
        monkeypatch.setitem(sys.modules, name, None)
    spec = bundle.model("expression")
    assert taken(create("isolated:faulty"), [spec], spare=True).spare is None
    candidates, backends = probe.look([spec], bundle, survey=False)
    assert list(backends) == ["faulty"]
    assert "pip install ai-edge-litert" in candidates[0].verdict
    assert not candidates[0].refused  # what is not there is not fallen back from


@pytest.mark.parametrize("mode", ["exit", "raise"])
def test_a_named_backend_that_is_lost_costs_no_frame(bundle: Bundle, other: Any, mode: str) -> None:
    other(mode)
    spec = bundle.model("expression")
    found = taken(create("isolated:faulty"), [spec], spare=True)
    session = found.open(spec, bundle, 1)
    good = golden_input(spec)
    bad = {name: value.copy() for name, value in good.items()}
    bad["image"].flat[0] = faulty.TRIGGER
    session.run(good)
    assert (session.ran.backend, session.ran.degraded) == ("isolated:faulty", False)
    wanted = LiteRTBackend().open(spec, bundle.artifact(spec.artifact), 1).run(bad)
    np.testing.assert_array_equal(session.run(bad)["logits"], wanted["logits"])
    assert session.ran == Ran("litert", "XNNPACK", None, spec.precision, 1, degraded=True)
    assert found.health.reason
    second = found.open(spec, bundle, 1)  # opened while it is lost: that is no mistake of the name
    assert second.ran.degraded
    for one in (session, second):
        one.close()


def test_a_named_backend_that_never_worked_is_told_and_not_covered(bundle: Bundle, other: Any) -> None:
    other("open-raise")
    spec = bundle.model("expression")
    found = taken(create("isolated:faulty"), [spec], spare=True)
    for _ in range(2):
        with pytest.raises(DeviceError, match="the stick was pulled out"):
            found.open(spec, bundle, 1)
    assert not found.health.reason
