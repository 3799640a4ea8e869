"""Experts: the gated parts of the slow tier, ``D_slow = sum_i g_i(x) D_i`` with every g exactly 0 or 1.

An expert whose gate is shut is not there: nothing is switched on, and the logits are the bare core's bits. One that
holds a domain looks at the hidden states of the text so far; one that holds facts is opened by the router's match of a
question with an episode that it holds.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fastslow.core import Core, Delta
from fastslow.errors import InputError, StoreError
from fastslow.gate import LAYOUT as GATE_LAYOUT
from fastslow.gate import VERSION as GATE_VERSION
from fastslow.gate import Gate
from fastslow.state import State

LAYOUT, VERSION = "slow/expert", 1
FACTOR_DTYPE = torch.float16  # three more bits than bf16, and factors of a trained LoRA are far from its range


@dataclass(frozen=True, eq=False)
class Expert:
    """A delta, what opens it, the ids of the episodes it holds (in order), and how its sleep went.

    ``gate`` None means that only the router opens it. Factors are stored in fp16 and used as stored, so that a
    restart changes no bit. ``report`` holds plain JSON values.
    """

    delta: Delta
    gate: Gate | None
    episodes: tuple[str, ...]
    report: dict[str, object] = field(default_factory=dict)

    @classmethod
    def make(
        cls, delta: Delta, gate: Gate | None, episodes: Sequence[str], report: dict[str, object] | None = None
    ) -> Expert:
        """An expert of a trained delta; raises InputError where a factor is not finite in fp16."""
        factors = {}
        for key, (a, b) in delta.factors.items():
            pair = a.detach().to(FACTOR_DTYPE), b.detach().to(FACTOR_DTYPE)
            if not all(bool(torch.isfinite(t).all()) for t in pair):
                raise InputError(f"the factors of {key} are not finite: the sleep diverged and is discarded")
            factors[key] = pair
        # JSON and back, so that the report is the same object before a restart and after it.
        return cls(Delta(delta.name, factors), gate, tuple(episodes), json.loads(json.dumps(report or {})))

    def is_open(self, hidden: Tensor | None = None, matched: Collection[str] = ()) -> bool:
        """Whether it is switched on for a text with ``hidden`` (T, width) at the cut, or for ``matched`` episodes."""
        if any(episode in self.episodes for episode in matched):
            return True
        return self.gate is not None and hidden is not None and self.gate.is_open(hidden)

    def size_bytes(self) -> int:
        return self.state().size_bytes()

    def state(self) -> State:
        """The expert as a State of layout "slow/expert"; :meth:`from_state` gives the same expert, bit for bit."""
        tensors = {f"{key}.A": a for key, (a, _) in self.delta.factors.items()}
        tensors |= {f"{key}.B": b for key, (_, b) in self.delta.factors.items()}
        about = {
            "name": self.delta.name,
            "order": list(self.delta.factors),
            "episodes": self.episodes,
            "report": self.report,
        }
        tensors["about"] = _letters(json.dumps(about))
        if self.gate is not None:
            tensors |= {f"gate.{name}": t for name, t in self.gate.state().tensors.items()}
        return State(LAYOUT, VERSION, tensors, {"gated": int(self.gate is not None)})

    @classmethod
    def from_state(cls, state: State) -> Expert:
        """Raises StoreError where the state is not one of an expert."""
        if (state.layout, state.version) != (LAYOUT, VERSION):
            raise StoreError(f"a state of layout {state.layout!r} holds no expert: rebuild it from the log")
        try:
            about = json.loads(bytes(state.tensors["about"].tolist()))
            pairs = {key: (state.tensors[f"{key}.A"], state.tensors[f"{key}.B"]) for key in about["order"]}
            gate = None
            if state.numbers["gated"]:
                gate = Gate.from_state(state.part("gate", GATE_LAYOUT, GATE_VERSION))
            return cls(Delta(about["name"], pairs), gate, tuple(about["episodes"]), about["report"])
        except (KeyError, ValueError) as error:
            raise StoreError(f"a saved expert is damaged ({error}): rebuild it from the log") from error


def _letters(text: str) -> Tensor:
    return torch.tensor(list(text.encode()), dtype=torch.uint8)


def open_experts(
    experts: Sequence[Expert], hidden: Tensor | None = None, matched: Collection[str] = ()
) -> list[Expert]:
    """The experts that are switched on, in order: those that hold a matched episode and those whose gate opens."""
    return [expert for expert in experts if expert.is_open(hidden, matched)]


@torch.no_grad()
def logits(core: Core, ids: Sequence[int], experts: Sequence[Expert], matched: Collection[str] = ()) -> Tensor:
    """Logits (T, V) after every token of ``ids`` under the slow tier alone; the bare core's bits where all are shut."""
    batch = torch.tensor([list(ids)])
    hidden = core.bottom(input_ids=batch).last_hidden_state
    chosen = open_experts(experts, hidden[0], matched)
    if not chosen:
        return core.model(input_ids=batch).logits[0]
    with core.using([expert.delta for expert in chosen]):
        return core.top(inputs_embeds=hidden).logits[0]
