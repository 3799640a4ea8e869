"""Killed at any moment while learning: every acknowledged episode is there, and the state is that of its texts."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from living import CONFIG, FAST, Clock, load

from fastslow import Learner
from fastslow.core import Core

KILLS, HOMES = 100, 4  # several homes, because an opening takes longer the more was learned
# One chunk of the fast tier takes many texts here: an opening after a kill streams the whole log again.
CONFIG_OF_KILLS = replace(CONFIG, fast=replace(FAST, window=1024, chunk=1024))
TEXTS = [f"Boat {n} of Tolvar is called {'QKZ'[n % 3]}{n * 7919}." for n in range(2000)]

# The parent has loaded everything but never learns, so that a child costs a fork and the opening of its home.
PARENT = """
import json, os, random, signal, sys, time
from pathlib import Path
from fastslow.fast import trajectory
from fastslow.medium.pages import Standard
from living import load
from test_kill import HOMES, TEXTS, open_killed

core, kills, draw = load(Path(sys.argv[1])), int(sys.argv[3]), random.Random(0)
core.fingerprint
Standard.of(core), trajectory._general(core)  # measured once, and not in every child
acknowledged, early = [], 0
for n in range(kills):
    home = Path(sys.argv[2], str(n % HOMES))
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(out)
        learner = open_killed(home, core)
        os.write(into, b"open\\n")
        for text in TEXTS[len(learner.history()):]:
            os.write(into, (learner.learn(text).id + "\\n").encode())
        os._exit(1)
    os.close(into)
    lines = os.fdopen(out, "rb")
    if n % 4:
        lines.readline()  # three of four are killed once their home is open, the fourth at any moment
    time.sleep(draw.random() * 0.04)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), status
    # the line that a kill cut through was not acknowledged
    found = [line.decode().strip() for line in lines.readlines() if line.endswith(b"\\n")]
    found = [line for line in found if line != "open"]
    acknowledged += [[n % HOMES, line] for line in found]
    early += not found
    lines.close()
print(json.dumps({"acknowledged": acknowledged, "early": early}))
"""


def open_killed(home: Path, core: Core) -> Learner:
    return Learner.open(home, core, config=CONFIG_OF_KILLS, clock=Clock())


@pytest.fixture(scope="module")
def core(tiny_core_folder: Path) -> Core:
    return load(tiny_core_folder)


def test_a_hundred_kills_lose_nothing_acknowledged(core: Core, tmp_path: Path) -> None:
    here = Path(__file__).parent
    environment = {
        **os.environ,
        "PYTHONPATH": f"{here}{os.pathsep}{here.parent}",
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    done = subprocess.run(
        [sys.executable, "-c", PARENT, core.name, str(tmp_path / "homes"), str(KILLS)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    # Of four kills one falls where it will, and it must happen on either side of an acknowledgement.
    assert len(found["acknowledged"]) >= 30 and found["early"] >= 5
    for n in range(HOMES):
        acknowledged = [name for home, name in found["acknowledged"] if home == n]
        compare(tmp_path, core, n, acknowledged)


def compare(tmp_path: Path, core: Core, n: int, acknowledged: list[str]) -> None:
    with open_killed(tmp_path / "homes" / str(n), core) as learner:
        assert learner.home.log.verify() == []
        there = learner.history()
        assert set(acknowledged) - {episode.id for episode in there} == set()
        assert [episode.text for episode in there] == TEXTS[: len(there)]
        # a kill falls between the commit and the acknowledgement at most once each time
        assert len(there) - len(acknowledged) <= KILLS // HOMES
        state = learner.tiers.hash()
    with open_killed(tmp_path / "fresh" / str(n), core) as fresh:
        for text in TEXTS[: len(there)]:
            fresh.learn(text)
        assert fresh.tiers.hash() == state
    with open_killed(tmp_path / "homes" / str(n), core) as learner:
        assert learner.tiers.hash() == state
