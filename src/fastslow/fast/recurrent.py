"""Recurrent cells as memories: RNN, LSTM, two with several rates (Clockwork RNN, and the hierarchical multiscale one
that finds its own), and two whose fast weights are Hebbian, of Ba et al. 2016 and of Miconi et al. 2018.

Each is a SequenceMemory that goes token by token. Letters of shapes: B batch, T tokens, D width, U units.
"""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
from torch import Tensor, nn

from fastslow.errors import InputError
from fastslow.fast.frame import Held, Memory


class Cell(Memory):
    """The frame: ``width`` D of the stream in and out, ``units`` U of the cell, and a projection back."""

    def __init__(self, width: int, units: int) -> None:
        super().__init__()
        if min(width, units) < 1:
            raise InputError(f"a cell needs at least one unit and a width: {units} units, width {width}")
        self.width, self.units = width, units
        self.to_out = nn.Linear(units, width)

    def empty(self, batch: int) -> Held:
        return {"h": torch.zeros(batch, self.units)}

    @abstractmethod
    def cell(self, x: Tensor, held: Held, seen: int) -> Held:
        """What it holds after one token ``x`` (B, D), the ``seen``-th from 0; "h" (B, U) is what it says."""

    def says(self, h: Tensor) -> Tensor:
        """The output (B, D) from the "h" (B, U) of a token."""
        return self.to_out(h)

    @property
    def layout(self) -> str:
        return f"fast/{self.rule} units{self.units} width{self.width}"

    def run(self, x: Tensor, held: Held, seen: int, *, single: bool) -> tuple[Tensor, Held]:
        kept = {name: tensor.dtype for name, tensor in held.items()}
        now, said = {name: tensor.to(x.dtype) for name, tensor in held.items()}, []
        for t in range(x.shape[1]):
            now = self.cell(x[:, t], now, seen + t)
            said.append(self.says(now["h"]))  # one by one: a product's bits depend on how many rows it has
        out = torch.stack(said, 1) if said else x
        return out, {name: tensor.to(kept[name]) for name, tensor in now.items()}


class RNN(Cell):
    """h_t = tanh(W h_{t-1} + C x_t + b). Elman 1990."""

    rule = "rnn"

    def __init__(self, width: int, units: int) -> None:
        super().__init__(width, units)
        self.from_x, self.from_h = nn.Linear(width, units), nn.Linear(units, units, bias=False)

    def cell(self, x: Tensor, held: Held, seen: int) -> Held:
        return {"h": torch.tanh(self.from_x(x) + self.from_h(held["h"]))}


class LSTM(Cell):
    """Input, forget and output gates around a cell c (Hochreiter and Schmidhuber 1997; Gers et al. 2000). The forget
    bias starts at 1 (Jozefowicz et al. 2015)."""

    rule = "lstm"

    def __init__(self, width: int, units: int) -> None:
        super().__init__(width, units)
        self.from_x, self.from_h = nn.Linear(width, 4 * units), nn.Linear(units, 4 * units, bias=False)
        with torch.no_grad():
            self.from_x.bias[units : 2 * units] = 1.0

    def empty(self, batch: int) -> Held:
        return {name: torch.zeros(batch, self.units) for name in ("c", "h")}

    def cell(self, x: Tensor, held: Held, seen: int) -> Held:
        i, f, new, o = (self.from_x(x) + self.from_h(held["h"])).chunk(4, -1)
        c = f.sigmoid() * held["c"] + i.sigmoid() * new.tanh()
        return {"c": c, "h": o.sigmoid() * c.tanh()}


class ClockworkRNN(Cell):
    """Modules of units that tick at 1, 2, 4, .. tokens; a module hears itself and the slower ones, and keeps its state
    where it does not tick. Koutnik et al. 2014 (arXiv 1402.3511), eq. 1-3."""

    rule = "clockwork_rnn"
    periods: Tensor
    heard: Tensor

    def __init__(self, width: int, units: int, modules: int = 4) -> None:
        super().__init__(width, units)
        if modules < 1 or units % modules:
            raise InputError(f"{units} units do not make {modules} modules of one size")
        self.modules_ = modules
        self.from_x, self.from_h = nn.Linear(width, units), nn.Linear(units, units, bias=False)
        rank = torch.arange(modules).repeat_interleave(units // modules)
        self.register_buffer("periods", 2**rank, persistent=False)
        self.register_buffer("heard", (rank[None, :] >= rank[:, None]).float(), persistent=False)

    @property
    def layout(self) -> str:
        return f"{super().layout} modules{self.modules_}"

    def cell(self, x: Tensor, held: Held, seen: int) -> Held:
        weight = self.from_h.weight * self.heard.to(x.dtype)
        new = torch.tanh(self.from_x(x) + nn.functional.linear(held["h"], weight))
        return {"h": torch.where(seen % self.periods < 1, new, held["h"])}


class HierarchicalRNN(Cell):
    """The hierarchical multiscale LSTM: each level finds the ends of its own segments. Where a level's segment ends
    (z = 1) it hands what it has to the level above and starts anew (FLUSH); a level whose input has not ended does
    nothing (COPY); otherwise it is an LSTM (UPDATE). Chung et al. 2016 (arXiv 1609.01704), eq. 1-9, the output gated as
    in eq. 10-11. The boundary is a step of a hard sigmoid with the gradient passed straight through; raise ``slope``
    during training to close the gap between the two (section 2.2)."""

    rule = "hierarchical_rnn"

    def __init__(self, width: int, units: int, levels: int = 2) -> None:
        super().__init__(width, units)
        if levels < 1 or units % levels:
            raise InputError(f"{units} units do not make {levels} levels of one size")
        self.levels, self.slope, each = levels, 1.0, units // levels
        below = [width, *[each] * (levels - 1)]
        self.from_below = nn.ModuleList(nn.Linear(size, 4 * each + 1) for size in below)
        self.from_self = nn.ModuleList(nn.Linear(each, 4 * each + 1, bias=False) for _ in range(levels))
        self.from_above = nn.ModuleList(nn.Linear(each, 4 * each + 1, bias=False) for _ in range(levels - 1))
        self.to_gates = nn.Linear(units, levels)

    @property
    def layout(self) -> str:
        return f"{super().layout} levels{self.levels}"

    def empty(self, batch: int) -> Held:
        ended = torch.zeros(batch, self.levels)
        return {"c": torch.zeros(batch, self.units), "h": torch.zeros(batch, self.units), "z": ended}

    def cell(self, x: Tensor, held: Held, seen: int) -> Held:
        old_c, old_h, ended = (held[name].chunk(self.levels, -1) for name in ("c", "h", "z"))
        c, h, z = list(old_c), list(old_h), list(ended)
        below, arrived = x, torch.ones_like(z[0])  # every token ends a segment of length one
        for n in range(self.levels):
            total = self.from_self[n](old_h[n]) + arrived * self.from_below[n](below)
            if n < self.levels - 1:
                total = total + ended[n] * self.from_above[n](old_h[n + 1])
            gates, boundary = total[:, :-1], total[:, -1:]
            i, f, new, o = gates.chunk(4, -1)
            written = i.sigmoid() * new.tanh()
            moved = ended[n] * written + (1 - ended[n]) * (f.sigmoid() * old_c[n] + written)
            copied = (1 - ended[n]) * (1 - arrived)
            c[n] = copied * old_c[n] + (1 - copied) * moved
            h[n] = copied * old_h[n] + (1 - copied) * o.sigmoid() * moved.tanh()
            soft = ((self.slope * boundary + 1) / 2).clamp(0, 1)
            z[n] = (soft > 0.5).to(x.dtype) + (soft - soft.detach())  # exactly 0 or 1
            below, arrived = h[n], z[n]
        return {name: torch.cat(parts, -1) for name, parts in (("c", c), ("h", h), ("z", z))}

    def says(self, h: Tensor) -> Tensor:
        shares = self.to_gates(h).sigmoid()  # (B, levels)
        return self.to_out(h * shares.repeat_interleave(self.units // self.levels, -1))


class HebbianRNN(Cell):
    """An RNN whose fast weights A attract it to its recent past: A_t = decay A_{t-1} + rate h_t h_t^T, and ``inner``
    steps h <- relu(LN(W h_t + C x_t + A_t h)) for every token. Ba et al. 2016 (arXiv 1610.06258), eq. 1-2 with the
    layer norm of section 3."""

    rule = "hebbian_rnn"

    def __init__(self, width: int, units: int, decay: float = 0.95, rate: float = 0.5, inner: int = 1) -> None:
        super().__init__(width, units)
        if not (0 <= decay <= 1 and inner >= 1):
            raise InputError(f"the decay lies between 0 and 1 and there is at least one inner step: {decay}, {inner}")
        self.decay, self.rate, self.inner = decay, rate, inner
        self.from_x, self.from_h = nn.Linear(width, units), nn.Linear(units, units, bias=False)
        nn.init.eye_(self.from_h.weight)
        with torch.no_grad():
            self.from_h.weight.mul_(0.05)  # as the paper starts it
        self.norm = nn.LayerNorm(units)

    @property
    def layout(self) -> str:
        return f"{super().layout} decay{self.decay} rate{self.rate} inner{self.inner}"

    def empty(self, batch: int) -> Held:
        return {"fast": torch.zeros(batch, self.units, self.units), "h": torch.zeros(batch, self.units)}

    def cell(self, x: Tensor, held: Held, seen: int) -> Held:
        h = held["h"]
        fast = self.decay * held["fast"] + self.rate * h[:, :, None] * h[:, None, :]
        boundary = self.from_x(x) + self.from_h(h)
        new = torch.relu(boundary)
        for _ in range(self.inner):
            new = torch.relu(self.norm(boundary + (fast @ new[:, :, None]).squeeze(-1)))
        return {"fast": fast, "h": new}


class PlasticRNN(Cell):
    """Every connection has a fixed part and a plastic one, whose share alpha is learned: h_t = tanh((W + alpha * hebb)
    h_{t-1} + C x_t), hebb <- (1 - rate) hebb + rate h_t h_{t-1}^T. Miconi et al. 2018 (arXiv 1804.02464), eq. 1-2."""

    rule = "plastic_rnn"

    def __init__(self, width: int, units: int) -> None:
        super().__init__(width, units)
        self.from_x, self.from_h = nn.Linear(width, units), nn.Linear(units, units, bias=False)
        self.alpha = nn.Parameter(0.01 * torch.randn(units, units) / math.sqrt(units))
        self.rate = nn.Parameter(torch.tensor(0.01))

    def empty(self, batch: int) -> Held:
        return {"h": torch.zeros(batch, self.units), "hebb": torch.zeros(batch, self.units, self.units)}

    def cell(self, x: Tensor, held: Held, seen: int) -> Held:
        h, hebb = held["h"], held["hebb"]
        weight = self.from_h.weight + self.alpha * hebb  # (B, U, U)
        new = torch.tanh(self.from_x(x) + (weight @ h[:, :, None]).squeeze(-1))
        return {"h": new, "hebb": (1 - self.rate) * hebb + self.rate * new[:, :, None] * h[:, None, :]}


CELLS: dict[str, type[Cell]] = {
    cell.rule: cell for cell in (RNN, LSTM, ClockworkRNN, HierarchicalRNN, HebbianRNN, PlasticRNN)
}
