"""Contenders in processes of their own: timings, failures, the fastest form."""

import subprocess
import sys
from contextlib import closing

import pytest
from contenders import form, work

from recipes.bench.meter import Meter
from recipes.bench.race import fastest, race
from recipes.bench.remote import ContenderError, Remote


def test_a_contender_is_timed(tmp_path):
    with closing(Remote(work(), form("steady"), tmp_path)) as remote:
        assert remote.kinds == ("train", "eval")
        train, evaluation = remote.timing("train", 0.05), remote.timing("eval", 0.0)
    assert train.images % 4 == 0
    assert 0.05 <= train.seconds < 5
    assert train.rate == train.images / train.seconds
    assert evaluation.images == 8
    assert 10**6 < train.peak_memory < 200 * 2**20
    assert 0 < remote.set_up_seconds < 30


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("failing", "RuntimeError: there is no bench"),
        ("killed", "its process was killed by SIGKILL (out of memory?)"),
        ("ending", "its process ended with exit code 3: no more of this"),
        ("unknown", "AttributeError: module 'contenders' has no attribute 'unknown'"),
    ],
)
def test_a_failure_is_a_message(tmp_path, name, message):
    with pytest.raises(ContenderError) as raised:
        Remote(work(), form(name), tmp_path)
    assert str(raised.value) == message


def test_the_fastest_form_takes_part_and_the_others_end(tmp_path):
    forms = [form("steady", pause=0.02), form("failing"), form("steady", pause=0.002)]
    remote = fastest(work(), forms, tmp_path, seconds=0.05)
    with closing(remote):
        assert remote.timing("train", 0.05).rate > 4 / 0.02
    with pytest.raises(ContenderError, match="there is no bench"):
        fastest(work(), [form("failing"), form("failing")], tmp_path, seconds=0.05)


def test_a_race_goes_on_without_those_that_fail(tmp_path):
    contenders = {
        "fnet": [form("steady")],
        "eager": [form("failing")],
        "memory": [form("killed", after=3)],
    }
    said = []
    entries = race(
        work(),
        contenders,
        Meter(lambda: {"fp32": 1.0}),
        repeats=3,
        seconds=0.02,
        scratch=tmp_path,
        say=said.append,
    )
    assert list(entries) == list(contenders)
    own = entries["fnet"]
    assert own.error is None
    assert own.note == "steady"
    assert own.peak_memory > 10**6
    assert [len(own.timings(kind)) for kind in ("train", "eval")] == [3, 3]
    assert entries["eager"].error == "RuntimeError: there is no bench"
    assert "SIGKILL" in entries["memory"].error
    assert said[-1] == "net: round 3 of 3"


def test_a_contenders_process_imports_no_framework_by_itself():
    names = ("torch", "jax", "fnet.data")
    program = f"import sys, recipes.bench.child; print([n for n in {names} if n in sys.modules])"
    program = f"import recipes.bench.roster, recipes.bench.work; {program}"
    printed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    assert printed.strip() == "[]"
