"""The question: which memories can hold several pairs and give each back when asked? Multi-query associative recall
(Arora et al. 2023, arXiv 2312.04927): keys with their values, then the keys again in another order, each of which must
be answered by its value.

Most memories have about the same number of numbers in their state, so that what is compared is the rule and not the
room. Test-time learners have more, as their weights are their state, and attention's state grows.
`fastslow bench mqar --json docs/results/mqar.json`
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fastslow.bench import experiment
from fastslow.errors import InputError
from fastslow.fast.frame import LayerConfig
from fastslow.models.decoder import MEMORIES, Decoder, DecoderConfig

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RULES = tuple(
    name
    for name in MEMORIES
    if name not in ("rnn", "clockwork_rnn", "hierarchical_rnn", "hebbian_rnn", "plastic_rnn")
    and not name.startswith("titans_")
)
KEYS, VALUES, PAIRS = 32, 32, (4, 8, 16)  # of the vocabulary; pairs of a sequence: trained on all, judged on each
RATES = (1e-2, 3e-3, 1e-3)  # every memory is trained at each, and the one with the least training loss is judged
WIDTH, ROOM, IGNORED = 64, 512, -100  # of the stream; numbers of a state; where nothing is asked


def run(
    file: Path | None = None,
    *,
    seed: int = 0,
    long: bool = False,
    rules: Sequence[str] = RULES,
    steps: int | None = None,
    rates: Sequence[float] = RATES,
) -> dict[str, Any]:
    """``long`` trains four times as long."""
    steps = steps or (6000 if long else 1500)
    runs = [(rule, rate) for rule in rules for rate in rates]
    tried: dict[str, list[dict[str, Any]]] = {rule: [] for rule in rules}
    for rule, rate in experiment.progress(runs, "memories at each rate"):
        tried[rule].append(learned(rule, seed, steps, rate))
    best = {rule: min(each, key=lambda run: run["loss"]) for rule, each in tried.items()}
    found = {rule: run for rule, run in best.items() if "recall" in run}
    settings = {
        "seed": seed,
        "steps": steps,
        "rates": list(rates),
        "keys": KEYS,
        "values": VALUES,
        "pairs": list(PAIRS),
        "room": ROOM,
    }
    result = {
        "bench": "mqar",
        "settings": settings,
        "memories": found,
        "diverged": [rule for rule in best if rule not in found],
    }
    return experiment.publish(file, result, _text(result), partial(_draw, result=result))


def drawn(random: Random, batch: int, pairs: int) -> tuple[Tensor, Tensor]:
    """Sequences (batch, 3 * pairs): key, value, key, value, .., then every key once more in another order; and what is
    to be said at each place, the value where a key is asked and IGNORED elsewhere."""
    tokens, wanted = [], []
    for _ in range(batch):
        keys = random.sample(range(KEYS), pairs)
        values = [KEYS + random.randrange(VALUES) for _ in keys]
        order = random.sample(range(pairs), pairs)
        tokens.append([t for pair in zip(keys, values, strict=True) for t in pair] + [keys[i] for i in order])
        wanted.append([IGNORED] * (2 * pairs) + [values[i] for i in order])
    return torch.tensor(tokens), torch.tensor(wanted)


def model(rule: str) -> Decoder:
    """Two blocks of the memory without maps between them, its state of about ROOM numbers a block."""
    heads, channels = 2, 16
    if rule == "lstm":
        heads, channels = 1, ROOM // 2  # c and h, of as many units
    layer = LayerConfig(width=WIDTH, heads=heads, key=channels, value=channels, chunk=16, depth=1)
    return Decoder(DecoderConfig(KEYS + VALUES, (rule, rule), layer))


def learned(rule: str, seed: int, steps: int, rate: float, batch: int = 32) -> dict[str, Any]:
    """Trained, and the share of unseen questions that it answers right, by the number of pairs; and the mean loss of
    the last steps, infinite where the training diverged."""
    torch.manual_seed(seed)
    decoder, random = model(rule), Random(seed)

    def loss(step: int) -> Tensor:
        tokens, wanted = drawn(random, batch, random.choice(PAIRS))
        logits, _ = decoder(tokens, decoder.init_state(batch))
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=IGNORED)

    try:
        losses = experiment.fit(decoder.parameters(), loss, steps=steps, rate=rate, lowered=True)
    except InputError:  # a memory refuses what is not finite, which is what a training that diverged gives it
        return {"rate": rate, "loss": math.inf}
    unseen = Random(f"{seed}-unseen")
    right = {str(pairs): recalled(decoder, *drawn(unseen, 128, pairs)) for pairs in PAIRS}
    state = decoder.memories[0].init_state(1)
    held = sum(t.numel() for name, t in state.tensors.items() if name not in ("conv", "last", "key", "highest"))
    parameters = sum(p.numel() for p in decoder.parameters())
    last = losses[-100:]
    return {
        "rate": rate,
        "recall": right,
        "state numbers": held,
        "parameters": parameters,
        "loss": sum(last) / len(last),
    }


@torch.no_grad()
def recalled(decoder: Decoder, tokens: Tensor, wanted: Tensor) -> float:
    """The share of what was asked that is said first."""
    said = decoder(tokens, decoder.init_state(len(tokens)))[0].argmax(-1)
    asked = wanted != IGNORED
    return float((said == wanted)[asked].double().mean())


def _text(result: dict[str, Any]) -> str:
    found = result["memories"]
    order = sorted(found, key=lambda rule: -sum(found[rule]["recall"].values()))
    rows = [
        [
            rule,
            *(f"{found[rule]['recall'][str(p)]:.2f}" for p in PAIRS),
            found[rule]["state numbers"] or "grows",
            f"{found[rule]['rate']:g}",
        ]
        for rule in order
    ]
    settings = result["settings"]
    return f"""# Multi-query associative recall

`fastslow bench mqar --json docs/results/mqar.json`: two blocks, {KEYS} keys and {VALUES} values,
{settings["steps"]} steps of 32 sequences (Adam, the rate lowered by a cosine), seed {settings["seed"]}. Every memory
is trained at each of the rates {", ".join(f"{r:g}" for r in settings["rates"])}; the one whose training ends with the
least loss is shown. The share of unseen questions answered right, and the numbers that a block's state
holds (those of the convolution not counted; test-time learners
hold the weights of before the chunk and a momentum too).

{experiment.table(["memory", *(f"{p} pairs" for p in PAIRS), "state", "rate"], rows)}

One seed for all. Guessing gives {1 / VALUES:.2f}, guessing among the values of the sequence 0.25, 0.12 and 0.06.
Diverged at every rate: {", ".join(result["diverged"]) or "none"}.
"""


def _draw(figure: Figure, result: dict[str, Any]) -> None:
    found = result["memories"]
    order = sorted(found, key=lambda rule: sum(found[rule]["recall"].values()))
    axes = figure.subplots()
    for n, pairs in enumerate(PAIRS):
        places = [i + 0.27 * (1 - n) for i in range(len(order))]
        axes.barh(places, [found[rule]["recall"][str(pairs)] for rule in order], 0.27, label=f"{pairs} pairs")
    axes.set_yticks(range(len(order)), order, fontsize=7)
    axes.set(xlim=(0, 1), xlabel="questions answered right", title="Pairs given back")
    axes.legend(frameon=False, loc="lower right")
