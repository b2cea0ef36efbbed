import gzip
import json

import pytest

from mm_jax.data.text import read_lines
from mm_jax.training.profiler import OTHER, SCOPES, name_events, scope_of, scopes_of
from tests.helpers import call, record_of

PROGRAM = """
%fused (p: f32[]) -> f32[] {
  ROOT %dot.1 = f32[] dot(%p, %p), metadata={op_name="jit(fit)/while/body/jvp(logits)/dot_general"}
}
  %ynn.4 = f32[2] fusion(%a), metadata={op_name="jit(fit)/transpose(jvp(hidden))/dot" frame=3}
  %copy.7 = f32[27,10]{1,0} copy(%b)
  %add.2 = f32[] add(%c, %d), metadata={op_name="jit(fit)/while/body/update/add"}
"""


def test_an_operation_has_the_innermost_scope_of_its_name():
    assert scopes_of(PROGRAM) == {
        "dot.1": "logits",
        "ynn.4": "hidden, gradient",
        "add.2": "update",
    }
    assert scope_of("jit(fit)/loss/jvp(logits)/dot") == "logits"
    assert scope_of("jit(fit)/while/body/unhidden/updated") == OTHER


def event(operation, dur, **more):
    return {"ph": "X", "name": operation, "dur": dur, "args": {"hlo_op": operation}, **more}


def test_time_is_that_of_operations_not_of_loops_that_hold_them_nor_of_waiting():
    events = [event("dot.1", dur) for dur in (1.0, 2.0, 900.0)]
    events += [event("while.3", 950.0), event("copy.7", 4.0), event("add.2", 3.0, ph="B")]
    events += [{"ph": "M", "name": "process_name"}, {"ph": "X", "name": "python", "dur": 5.0}]
    assert name_events(events, scopes_of(PROGRAM)) == {"logits": 6.0, OTHER: 4.0}
    names = [each["name"] for each in events]
    assert names[:5] == ["logits: dot.1"] * 3 + ["while.3", "other: copy.7"]
    assert names[5:] == ["add.2", "process_name", "python"]


def test_a_run_is_traced_scope_by_scope_and_has_the_bits_of_one_that_is_not(tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("\n".join(read_lines("names").lines[:60]))
    flags = ["--data", str(names), "--steps", "30", "--hidden-dim", "16"]
    record = record_of("train", *flags, "--profile", "--out", str(tmp_path / "seen"))
    call("train", *flags, "--out", str(tmp_path / "blind"))
    seen, blind = (tmp_path / name / "params.safetensors" for name in ("seen", "blind"))
    assert seen.read_bytes() == blind.read_bytes()

    trace = tmp_path / "seen" / "profile" / "trace.json.gz"
    assert record["profile"]["trace"] == str(trace)
    microseconds = record["profile"]["microseconds"]
    assert set(SCOPES) <= microseconds.keys()
    assert {"embed, gradient", "hidden, gradient", "logits, gradient"} <= microseconds.keys()
    assert all(each > 0 for each in microseconds.values())
    events = json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
    names = {each.get("name", "") for each in events}
    for scope in SCOPES:
        assert any(name.startswith(f"{scope}: ") for name in names), scope
    assert list((tmp_path / "seen" / "profile").glob("plugins/profile/*/*.xplane.pb"))

    again = ["train", "--resume", "--profile", "--out", str(tmp_path / "blind")]
    assert "has come to its end: --profile is for" in call(*again, code=2)[1]


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (["--seeds", "2"], "--profile is for one run"),
        (
            ["--coordinator", "localhost:1", "--num-processes", "2", "--process-id", "0"],
            "--profile is for one process",
        ),
    ],
)
def test_many_runs_or_processes_have_no_profile(flags, why, tmp_path):
    _, said = call("train", "--profile", *flags, "--out", str(tmp_path / "run"), code=2)
    assert why in said
    assert not (tmp_path / "run").exists()
