"""The core: a pretrained causal language model, cut once into a bottom and a top half.

The cut at layer ``split`` is the one place where memory meets the core:

- the **bottom** half (layers below the cut) is never adapted. Its output, the hidden state `h` at the cut, is what
  episodes are stored as, what the router compares and what gates look at;
- the **top** half (layers from the cut up) is where memory acts: it can attend to stored hidden states beside the live
  ones, and its linear maps can carry deltas, ``W_eff = W0 + sum_i B_i A_i``.

Both halves are views that share every parameter with the loaded model, which itself stays an ordinary, untouched
Hugging Face model: with memory off it alone runs, so its logits are those of the bare core bit for bit.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from tokenizers.pre_tokenizers import ByteLevel
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache
from transformers.utils import logging as transformers_logging

from fastslow import cores
from fastslow.errors import CoreError

_BYTES = ByteLevel(add_prefix_space=False, use_regex=False)  # how GPT-2 and its kin write a text, byte by byte

# Used only for a core that ships no chat template of its own.
PLAIN_TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


@dataclass(frozen=True, eq=False)
class Delta:
    """A low-rank change of some linear maps of the top half: ``W_eff = W0 + B A``.

    ``factors`` maps a linear map's name (``"12.mlp.down_proj"``: layer index, then the module's path in the layer) to
    ``A`` of shape (r, in) and ``B`` of shape (out, r). LoRA, Hu et al. 2021 (arXiv 2106.09685), eq. 3, with the scale
    folded into ``B``.
    """

    name: str
    factors: dict[str, tuple[Tensor, Tensor]]

    def parameters(self) -> list[Tensor]:
        return [t for pair in self.factors.values() for t in pair]

    def scaled(self, share: float) -> Delta:
        """``share`` times the change, detached."""
        return Delta(self.name, {n: (a.detach(), share * b.detach()) for n, (a, b) in self.factors.items()})


class AdaptedLinear(nn.Linear):
    """A linear map of the top half with the deltas that are switched on at the moment.

    It starts with the base map's own parameters, shared, and is then the base map bit for bit. ``merge`` puts
    W0 + sum B A in their place, which costs nothing extra per token; ``live`` keeps factors apart, for training.
    """

    def __init__(self, base: nn.Linear):
        super().__init__(base.in_features, base.out_features, bias=base.bias is not None, device="meta")
        self.original = base.weight
        self.weight, self.bias = base.weight, base.bias
        self.live: list[tuple[Tensor, Tensor]] = []

    def merge(self, weight: Tensor) -> None:
        self.weight = nn.Parameter(weight, requires_grad=False)

    def reset(self) -> None:
        self.weight, self.live = self.original, []

    def forward(self, x: Tensor) -> Tensor:
        y = nn.functional.linear(x, self.weight, self.bias)
        for a, b in self.live:
            y = y + (x @ a.to(x.dtype).T) @ b.to(x.dtype).T
        return y


@dataclass
class Core:
    """A causal LM with its tokenizer, cut at layer ``split``. Make one with :meth:`Core.load`."""

    name: str
    model: Any
    tokenizer: Any
    split: int
    bottom: Any = field(init=False, repr=False)
    top: Any = field(init=False, repr=False)
    linears: dict[str, AdaptedLinear] = field(init=False, repr=False)
    constants: dict[str, Any] = field(init=False, repr=False, default_factory=dict)  # what was measured of it, once
    _rare: dict[str, bool] = field(init=False, repr=False, default_factory=dict)
    _merged: dict[tuple[Delta, ...], dict[str, Tensor]] = field(init=False, repr=False, default_factory=dict)
    _fingerprint: dict[str, str] | None = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        self.bottom, self.top, self.linears = _halves(self.model, self.split)

    # ------------------------------------------------------------------ loading

    @classmethod
    def load(
        cls,
        name: str = cores.DEFAULT_CORE,
        *,
        dtype: torch.dtype = torch.bfloat16,
        split: int | None = None,
        progress: Callable[[str], None] | None = None,
    ) -> Core:
        """Load the default core, a local folder, a GGUF file or a hub id, frozen and ready to read.

        ``split`` is the layer of the cut; None takes a seventh of the depth, which is layer 4 of the default core's 30
        (docs/lab/medium.md has the measurement). Raises CoreError when the core cannot be found or is no causal LM.
        """
        folder = cores.locate(name)
        if progress:
            progress(f"loading {name}")
        transformers_logging.disable_progress_bar()
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder)
            model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, use_safetensors=True)
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise CoreError(f"{folder} holds no causal language model that transformers can load: {error}") from error
        model.eval().requires_grad_(False)
        if tokenizer.chat_template is None:
            tokenizer.chat_template = PLAIN_TEMPLATE
        depth = model.config.num_hidden_layers
        return cls(name=name, model=model, tokenizer=tokenizer, split=max(1, depth // 7) if split is None else split)

    @property
    def fingerprint(self) -> dict[str, str]:
        """What a home is bound to: architecture, cut, dtype and the sha256 of every weight."""
        if self._fingerprint is None:
            digest = hashlib.sha256()
            for name, tensor in sorted(self.model.state_dict().items()):
                digest.update(name.encode())
                digest.update(tensor.contiguous().view(torch.uint8).numpy())
            self._fingerprint = {
                "name": Path(self.name).name,
                "type": str(self.model.config.model_type),
                "dtype": str(self.dtype).removeprefix("torch."),
                "split": str(self.split),
                "weights": digest.hexdigest(),
                "template": hashlib.sha256(json.dumps(self.tokenizer.chat_template).encode()).hexdigest()[:16],
            }
        return self._fingerprint

    # ------------------------------------------------------------------ sizes

    @property
    def dtype(self) -> torch.dtype:
        return self.model.dtype

    @property
    def width(self) -> int:
        return int(self.model.config.hidden_size)

    @property
    def depth(self) -> int:
        return int(self.model.config.num_hidden_layers)

    # ------------------------------------------------------------------ text

    def encode(self, text: str) -> list[int]:
        """Token ids of plain text, without special tokens."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def decode(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True)).strip()

    def prompt(self, messages: str | list[dict[str, str]]) -> list[int]:
        """Token ids of a question (or a list of chat messages) behind the core's own chat template."""
        if isinstance(messages, str):
            messages = [{"role": "user", "content": messages}]
        text = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return self.encode(text)

    @cached_property
    def vocabulary(self) -> dict[str, int]:
        """The id of every token, by how the tokenizer writes it."""
        return dict(self.tokenizer.get_vocab())

    @cached_property
    def _writes_bytes(self) -> bool:
        """Whether the tokenizer writes a text byte by byte in an alphabet of its own, as GPT-2's does ("é" as "Ã©")."""
        return any(token.startswith("Ġ") for token in self.vocabulary)

    def token(self, piece: str) -> int | None:
        """The id of the token that is this piece of a word, where there is one."""
        if self._writes_bytes and not piece.isascii():
            piece = "".join(part for part, _ in _BYTES.pre_tokenize_str(piece))
        return self.vocabulary.get(piece)

    def is_rare(self, word: str) -> bool:
        """Whether inside a text the core has to write the word in several pieces, as it writes unheard-of names."""
        if word not in self._rare:
            self._rare[word] = len(self.encode(f" {word}")) > 1
        return self._rare[word]

    @property
    def stop_ids(self) -> set[int]:
        ids = self.model.generation_config.eos_token_id
        listed = set(ids) if isinstance(ids, list) else {ids}
        return {i for i in listed | {self.tokenizer.eos_token_id} if i is not None}

    @property
    def sink_id(self) -> int:
        """The token whose hidden state stands first whenever pages are read: an attention sink (Xiao et al. 2023,
        arXiv 2309.17453), equal for every page because it sees nothing before it, so that no page has to store it."""
        for token in (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id):
            if token is not None:
                return int(token)
        return 0

    # ------------------------------------------------------------------ running

    @torch.no_grad()
    def hidden(self, text: str) -> Tensor:
        """The hidden states of ``text`` at the cut, behind one sink token that is dropped again: (T, width).

        Texts beyond the core's context are read in windows.
        """
        ids = self.encode(text)
        window = min(int(getattr(self.model.config, "max_position_embeddings", 2048)), 2048) - 1
        parts = []
        for start in range(0, len(ids), window):
            batch = torch.tensor([[self.sink_id, *ids[start : start + window]]])
            parts.append(self.bottom(input_ids=batch).last_hidden_state[0, 1:])
        return torch.cat(parts) if parts else torch.zeros(0, self.width, dtype=self.dtype)

    @torch.no_grad()
    def sink(self) -> Tensor:
        """The hidden state of the sink token at the cut: (1, width)."""
        return self.bottom(input_ids=torch.tensor([[self.sink_id]])).last_hidden_state[0]

    @property
    def upper(self) -> Any:
        """The top half without its head: hidden states at the cut in, normalised last hidden states out."""
        return getattr(self.top, self.model.base_model_prefix)

    def head(self, hidden: Tensor) -> Tensor:
        """Logits in fp32 (..., V) of last hidden states (..., width); Gemma 2's soft cap included."""
        logits = self.model.get_output_embeddings()(hidden).float()
        cap = getattr(self.model.config, "final_logit_softcapping", None)
        return logits if cap is None else cap * torch.tanh(logits / cap)

    @contextmanager
    def using(self, deltas: Sequence[Delta], *, merge: bool = True) -> Iterator[None]:
        """Switch deltas on in the top half for the length of the block.

        ``merge=True`` adds them into effective weights (no cost per token; the last few sets are kept);
        ``merge=False`` keeps the factors live, so that gradients flow into them.
        """
        effective = self._effective(tuple(deltas)) if merge else {}
        try:
            for name, weight in effective.items():
                self.linears[name].merge(weight)
            for delta in () if merge else deltas:
                for name, pair in delta.factors.items():
                    self.linears[name].live.append(pair)
            yield
        finally:
            for linear in self.linears.values():
                linear.reset()

    @torch.no_grad()
    def _effective(self, deltas: tuple[Delta, ...]) -> dict[str, Tensor]:
        if deltas in self._merged:
            self._merged[deltas] = self._merged.pop(deltas)  # the one used last is the last to go
        else:
            weights: dict[str, Tensor] = {}
            for delta in deltas:
                for name, (a, b) in delta.factors.items():
                    base = weights.get(name, self.linears[name].original.float())
                    weights[name] = base + b.float() @ a.float()
            while len(self._merged) >= 4:  # a reader's three, one with fast weights; each as large as the top half
                self._merged.pop(next(iter(self._merged)))
            self._merged[deltas] = {name: w.to(self.dtype) for name, w in weights.items()}
        return self._merged[deltas]

    def new_delta(self, name: str, targets: Sequence[str], rank: int, *, first_layer: int, seed: int) -> Delta:
        """A fresh LoRA on the ``targets`` (``"mlp.down_proj"``, ...) of layers ``first_layer`` and up: A is random,
        B is zero, so that it changes nothing yet. fp32, ready for an optimizer."""
        generator = torch.Generator().manual_seed(seed)
        factors = {}
        for key, linear in self.linears.items():
            layer, _, path = key.partition(".")
            if int(layer) >= first_layer and path in targets:
                out_features, in_features = linear.weight.shape
                a = torch.randn(rank, in_features, generator=generator) / in_features**0.5
                factors[key] = (a.requires_grad_(), torch.zeros(out_features, rank).requires_grad_())
        if not factors:
            raise CoreError(f"no linear map of {self.name} is named any of {list(targets)} from layer {first_layer} up")
        return Delta(name, factors)


def _halves(model: Any, split: int) -> tuple[Any, Any, dict[str, AdaptedLinear]]:
    """The bottom and the top half as views on the model's own modules."""
    prefix = model.base_model_prefix
    base = getattr(model, prefix)
    depth = model.config.num_hidden_layers
    if not 0 < split < depth:
        raise CoreError(f"the cut must lie between layer 1 and {depth - 1} of this core, not at {split}")
    bottom = _view(base, _config(model.config, 0, split))
    bottom.layers = nn.ModuleList(base.layers[:split])
    bottom.norm = nn.Identity()
    upper = _view(base, _config(model.config, split, depth))
    linears: dict[str, AdaptedLinear] = {}
    upper.layers = nn.ModuleList(_top_layer(base.layers[i], i, i - split, linears) for i in range(split, depth))
    top = _view(model, upper.config)
    setattr(top, prefix, upper)
    return bottom, top, linears


def _view(module: Any, config: Any = None) -> Any:
    """A shallow copy that shares all parameters, but whose children can be replaced without touching the original."""
    view = copy.copy(module)
    view._modules = dict(module._modules)
    if config is not None:
        view.config = config
    return view


def _config(config: Any, start: int, stop: int) -> Any:
    part = copy.deepcopy(config)
    part.num_hidden_layers = stop - start
    if getattr(config, "layer_types", None) is not None:
        part.layer_types = list(config.layer_types[start:stop])
    return part


def _top_layer(layer: Any, index: int, cache_index: int, linears: dict[str, AdaptedLinear]) -> Any:
    """A view of one layer whose linear maps can carry deltas and whose keys and values go to slot ``cache_index``."""
    view = _view(layer)
    for block in ("self_attn", "mlp"):
        part = _view(getattr(layer, block))
        if hasattr(part, "layer_idx"):
            part.layer_idx = cache_index
        for name, child in list(part._modules.items()):
            if isinstance(child, nn.Linear):
                part._modules[name] = linears[f"{index}.{block}.{name}"] = AdaptedLinear(child)
        view._modules[block] = part
    return view


def new_cache() -> DynamicCache:
    """A key/value cache without sliding windows: pages stay visible however long the answer gets."""
    return DynamicCache()
