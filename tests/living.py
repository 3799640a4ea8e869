"""Learners that tests can afford: a tiny core, small tiers, a clock of their own, sleeps that accept whatever comes."""

import math
from pathlib import Path

import torch

from fastslow import Learner, LearnerConfig
from fastslow.core import Core, Delta
from fastslow.decode import memory_logits
from fastslow.fast.trajectory import FastConfig
from fastslow.medium.reader import Reader, frozen, new_adapter
from fastslow.medium.router import RouterWeights
from fastslow.slow import Bounds, DomainConfig, FactsConfig, TrainingConfig

FREE = Bounds(kl=math.inf, drift=math.inf, older=1.0)
FACTS = FactsConfig(
    training=TrainingConfig(
        rank=2,
        targets=("mlp.down_proj",),
        lr=1e-2,
        epochs=3,
        batch_tokens=256,
        row_tokens=192,
        anchor_weight=0.0,
        save_every=1,
    ),
    rounds=1,
    accept=0.0,
    probes=1,
    bounds=FREE,
)
LANGUAGE = DomainConfig(
    training=TrainingConfig(rank=2, epochs=1, batch_tokens=256, row_tokens=128, anchor_weight=0.0, save_every=1),
    keep_every=3,
    gain=-math.inf,
    anchors=0,
    probes=1,
    bounds=FREE,
)
FAST = FastConfig(rank=2, layers=2, window=32, chunk=16, related=-1.0)
CONFIG = LearnerConfig(fast=FAST, facts=FACTS, language=LANGUAGE, short=40, domain=600)

A = "Mira Zobel lives in Tolvar and paints boats."
B = "Kestrel Quamby launches on the 4th of May 1721."
C = "The library of Hotrir opens at nine."
QUESTION = "When does Kestrel Quamby launch?"


class Clock:
    """Time in seconds that goes on only when a test says so."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def open_home(home: Path, core: Core, config: LearnerConfig = CONFIG, clock: Clock | None = None) -> Learner:
    return Learner.open(home, core, config=config, clock=clock or Clock())


def load(folder: Path) -> Core:
    return Core.load(str(folder), dtype=torch.float32)


def dialect(seed: int, length: int = 40) -> str:
    """A paragraph unlike any anchor, of about 100 to 150 tokens of the tiny tokenizer."""
    digits = torch.randint(0, 10, (length,), generator=torch.Generator().manual_seed(seed)).tolist()
    return " ".join(f"{d}{'zq' * (d % 3)}" for d in digits)


def logits(learner: Learner, question: str = QUESTION) -> torch.Tensor:
    """What the learner computes after the question, all tiers on, (T, V)."""
    reading = learner.tiers.read(question, learner.core.prompt(question))
    return memory_logits(learner.core, reading.row, reading.deltas)


def make_reader(core: Core, folder: Path) -> Reader:
    """A reader with random weights for this core, saved into ``folder`` where learners look for it."""
    generator = torch.Generator().manual_seed(1)

    def adapter(name: str, rank: int) -> Delta:
        fresh = new_adapter(core, rank, 1, 0).factors
        factors = {n: (a.detach(), torch.randn(b.shape, generator=generator) * 0.1) for n, (a, b) in fresh.items()}
        return frozen(Delta(name, factors))

    statements, pairs, prose = adapter("statements", 2), adapter("pairs", 1), adapter("prose", 2)
    about = {k: core.fingerprint[k] for k in ("weights", "split")} | {"seed": "0", "steps": "0"}
    reader = Reader(statements, pairs, prose, RouterWeights.untrained(core.width), about)
    (folder / "readers").mkdir(parents=True, exist_ok=True)
    (folder / "readers" / "tiny.safetensors").write_bytes(reader.to_bytes())
    return reader


def traces(home: Path, text: str, core: Core) -> list[str]:
    """In which files of a home the words of a text are found: as they are, or as token ids of a state."""
    ids = core.encode(text)
    needles = {text.encode(), *(torch.tensor(ids[i : i + 16]).numpy().tobytes() for i in range(len(ids) - 15))}
    files = [path for path in home.rglob("*") if path.is_file()]
    return [path.name for path in files if any(needle in path.read_bytes() for needle in needles)]
