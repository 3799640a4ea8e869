"""Killed at any moment while learning, a home keeps every episode that was acknowledged, and nothing half-done."""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from fastslow import Core, Learner

KILLS, EACH = 100, 20  # kills, and how many of them one home takes


def learn_until_killed(home: Path, core: Core, first: int, pipe: int) -> None:
    """In a child: learn one text after the other, and write the number of each down the pipe once it is learned."""
    with Learner.open(home, core, clock=lambda: 1000.0) as learner:
        for n in range(first, first + 10_000):
            learner.learn(f"Mira planted {n} trees in Tolvar.")
            os.write(pipe, n.to_bytes(4, "big"))


def killed_once(home: Path, core: Core, first: int, after: float) -> list[int]:
    """Fork a learner, kill it `after` seconds from its first acknowledgement, and return what it acknowledged."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            learn_until_killed(home, core, first, write)
        finally:
            os._exit(1)
    os.close(write)
    acknowledged = os.read(read, 4)
    time.sleep(after)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    while chunk := os.read(read, 1 << 16):
        acknowledged += chunk
    os.close(read)
    return [int.from_bytes(acknowledged[i : i + 4], "big") for i in range(0, len(acknowledged), 4)]


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
def test_no_acknowledged_episode_is_lost(tiny_core_folder: Path, tmp_path: Path) -> None:
    core, rng = Core.load(str(tiny_core_folder)), random.Random(0)
    for n in range(KILLS // EACH):
        home = tmp_path / f"home{n}"
        known: list[int] = []
        for _ in range(EACH):
            known += killed_once(home, core, known[-1] + 2 if known else 0, rng.uniform(0, 0.06))
        with Learner.open(home, core, clock=lambda: 1000.0) as learner:
            texts = [episode.text for episode in learner.history()]
            assert not learner.home.log.verify()
            state = learner.tiers.hash()
        told = {f"Mira planted {n} trees in Tolvar." for n in known}
        assert told <= set(texts)
        # At most one that was written but not yet acknowledged for each kill.
        assert len(texts) <= len(told) + EACH
    with Learner.open(tmp_path / "fresh", core, clock=lambda: 1000.0) as fresh:
        for text in texts:
            fresh.learn(text)
        assert fresh.tiers.hash() == state
