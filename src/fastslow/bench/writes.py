"""The question: how should an episode be written?

Every way to write gets the same invented facts and is asked the same direct questions and paraphrases after the last
one, by free generation through the chat template. A page gets the line as it was told. What writes into weights or
stores answers is told more: which words are the subject, the relation and the value, so that rules can make questions
of them, in wordings of the train split, never those that are asked.
"""

from __future__ import annotations

import importlib.util
import json
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from fastslow import cores
from fastslow.bench import baselines, texts
from fastslow.bench.recall import Say, machine
from fastslow.core import Core, Delta
from fastslow.decode import Row, bare_logits, generate, memory_logits
from fastslow.errors import InputError
from fastslow.lessons import Lesson, make_lesson
from fastslow.medium import reader as readers
from fastslow.medium.episodes import SMALL_WORDS, RecallConfig
from fastslow.medium.pages import compress, expand
from fastslow.medium.router import stem
from fastslow.state import State
from fastslow.store import io
from fastslow.tiers import LearnerConfig, Tiers, Told
from fastslow.worlds import is_correct
from fastslow.worlds.invented import ProbeKind, World
from fastslow.worlds.invented import say as worded
from fastslow.worlds.templates import DIRECT

KINDS: tuple[ProbeKind, ...] = ("direct", "paraphrase")
TUNING_SEED, TUNING_FACTS = 12, 12
HALF = 2  # bytes of a stored number, whatever precision it was computed in
Table = list[dict[str, Any]]
Ask = Callable[[Sequence[tuple[str, int]]], list[str]]  # (question, which fact it asks for) -> answers
Logits = Callable[[str, list[int], int], Tensor]  # (text, its ids, a number) -> logits (T, V) as the memory stands


@dataclass(frozen=True, eq=False)
class Way:
    """Facts as one method wrote them: how to ask, bytes per fact, and the logits on unrelated input with the memory as
    it is used there. Where an oracle would shut it, it is left on (None: there is no memory)."""

    ask: Ask
    size: float
    logits: Logits | None = None


class Exam:
    """The facts of one world, as they are told, and what is asked about them."""

    def __init__(self, core: Core, seed: int, facts: int, split: str):
        self.world = World.make(seed, facts, split, updates=0.0, restates=0.0, retracts=0.0)  # type: ignore[arg-type]
        self.facts = [event.fact for event in self.world.events]
        self.lines = [event.text for event in self.world.events]
        place = {fact.id: i for i, fact in enumerate(self.facts)}
        self.asked = [(probe, place[probe.facts[0]]) for kind in KINDS for probe in self.world.probes(kind)]
        self.forms: list[list[Lesson]] = []
        for fact in self.facts:  # two questions that rules make of a fact, with its value as the answer
            questions = [worded(frame, fact.relation, self.world.split, fact.subject) for frame in DIRECT["train"]]
            answer = fact.value[:1].upper() + fact.value[1:] + "."
            self.forms.append([make_lesson(core, question, answer) for question in questions])

    def score(self, ask: Ask) -> tuple[dict[str, float], Table]:
        """The share of right answers of each kind, and every answer."""
        answers = ask([(probe.question, i) for probe, i in self.asked])
        lines: Table = []
        for (probe, _), text in zip(self.asked, answers, strict=True):
            right = is_correct(text, probe, self.world.taught_values(probe.value_kind))
            lines.append({"kind": probe.kind, "question": probe.question, "answer": text, "right": right})
        rights = {kind: [line["right"] for line in lines if line["kind"] == kind] for kind in KINDS}
        return {kind: sum(found) / len(found) for kind, found in rights.items()}, lines


def pages(tiers: Tiers, exam: Exam, *, oracle: bool, small_words: bool = True) -> Way:
    """The medium tier's own way: hidden states at the cut, one record a fact, read by attention in the top half.

    ``oracle`` gives the right page and nothing else; otherwise the router chooses. ``small_words=False`` leaves out
    the slots of words like "the" and of punctuation.
    """
    core, episodes = tiers.core, tiers.episodes
    for i, line in enumerate(exam.lines):
        page = episodes.write(line)
        tiers.told[str(i)] = Told(line, "", "", float(i))
        episodes.add(str(i), page if small_words else without_small_words(tiers, page), i, float(i))
    reading = (tiers.reader.statements,) if tiers.reader else ()

    def row(question: str, prompt: list[int], fact: int) -> Row:
        if oracle:
            return tiers.row(prompt, [str(fact)])
        return tiers.read(question, prompt, ("medium",)).row

    def ask(questions: Sequence[tuple[str, int]]) -> list[str]:
        return read_all(core, [row(q, core.prompt(q), i) for q, i in questions], reading)

    def logits(text: str, ids: list[int], number: int) -> Tensor:
        found = row(text, ids, number % len(exam.lines))
        return memory_logits(core, found, reading if found.pages else ())

    sizes = [record.page.size_bytes() for record in episodes.records.values() if record.page]
    return Way(ask, sum(sizes) / len(sizes), logits)


def without_small_words(tiers: Tiers, page: State) -> State:
    """The page with only the slots of telling words."""
    small = torch.tensor([0, *(zlib.crc32(stem(word).encode()) for word in sorted(SMALL_WORDS))])
    keep = ~torch.isin(page.tensors["words"].long(), small)
    states = expand(page, tiers.episodes.standard, torch.float32)[keep]
    labels = {name: page.tensors[name][keep] for name in ("words", "rarity")}
    return compress(states, tiers.episodes.standard, page.numbers["bits"], **labels)


def read_all(core: Core, rows: Sequence[Row], deltas: Sequence[Delta], batch: int = 16) -> list[str]:
    """Greedy answers of many rows; ``deltas`` are on for those that have pages."""
    found = [""] * len(rows)
    for paged in (True, False):
        members = [i for i, row in enumerate(rows) if bool(row.pages) is paged]
        members.sort(key=lambda i: len(rows[i].prompt) + sum(map(len, rows[i].pages)))
        for start in range(0, len(members), batch):
            part = members[start : start + batch]
            out = generate(core, [rows[i] for i in part], deltas if paged else (), max_tokens=32)
            for i, ids in zip(part, out, strict=True):
                found[i] = core.decode(ids)
    return found


def cut_at(core: Core, share: float) -> Core:
    """The same core, cut deeper, at this share of its depth: what lies below is run once for a lesson."""
    return Core(core.name, core.model, core.tokenizer, max(core.split, round(core.depth * share)))


@dataclass(frozen=True, eq=False)
class Drill:
    """Lessons up to the cut of a core: states (N, S, width), padded on the right, where causality hides it, and the
    targets (N, S), -100 where no answer token follows."""

    core: Core
    states: Tensor
    targets: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, core: Core, lessons: Sequence[Lesson]) -> Drill:
        rows = [[*lesson.prompt, *lesson.answer] for lesson in lessons]
        longest = max(map(len, rows))
        ids = torch.tensor([row + [core.sink_id] * (longest - len(row)) for row in rows])
        targets = torch.full(ids.shape, -100)
        for i, lesson in enumerate(lessons):
            start = len(lesson.prompt) - 1
            targets[i, start : start + len(lesson.answer)] = torch.tensor(lesson.answer)
        return cls(core, core.bottom(input_ids=ids).last_hidden_state, targets)

    def loss(self, rows: Tensor | slice = slice(None)) -> Tensor:
        """Mean cross-entropy (nats per answer token), differentiable in what is live above the cut."""
        targets = self.targets[rows]
        output = self.core.upper(inputs_embeds=self.states[rows], use_cache=False).last_hidden_state
        return cross_entropy(self.core.head(output[targets != -100]), targets[targets != -100])


def weights(core: Core, delta: Delta, facts: int) -> Way:
    """One delta for all facts, always on. It is stored as factors or as dense matrices, whichever is smaller."""
    size = sum(min(a.numel() + b.numel(), a.shape[1] * b.shape[0]) for a, b in delta.factors.values())
    ask: Ask = lambda questions: baselines.answers(core, [q for q, _ in questions], (delta,))  # noqa: E731
    return Way(ask, HALF * size / facts, lambda _, ids, __: memory_logits(core, Row(ids), (delta,)))


def ridge(core: Core, exam: Exam, rate: float, share: float = 0.85, turn: int = 20) -> Way:
    """One backward pass and one ridge solve for every turn of facts (UltraEdit, arXiv 2505.14679, algorithm 1).

    Keys h and gradients g = dL/d(output) of one `mlp.down_proj` at the answer tokens; lifelong normalisation of (h, g)
    with a running mean and deviation; v = -rate |h^|^2 g^; dW = (H'H + I)^-1 H'V, solved in its dual form.
    """
    cut = cut_at(core, share)
    name = f"{cut.split}.mlp.down_proj"
    out, inner = core.linears[name].weight.shape
    seen, delta = torch.empty(0, inner + out), Delta("ridge", {name: (torch.empty(0, inner), torch.empty(out, 0))})
    for start in range(0, len(exam.forms), turn):
        drill = Drill.of(cut, [lesson for forms in exam.forms[start : start + turn] for lesson in forms])
        keys, slopes = keys_and_slopes(drill, name, delta)
        seen = torch.cat([seen, torch.cat([keys, slopes], 1)])
        normal = (seen[-len(keys) :] - seen.mean(0)) / seen.std(0).clamp(min=1e-8)
        values = -rate * (normal[:, :inner] ** 2).sum(1, keepdim=True) * normal[:, inner:]
        solved = torch.linalg.solve(keys @ keys.T + torch.eye(len(keys)), values)  # (n, out)
        a, b = delta.factors[name]
        delta = Delta("ridge", {name: (torch.cat([a, keys]), torch.cat([b, solved.T], 1))})
    return weights(core, delta, len(exam.facts))


def keys_and_slopes(drill: Drill, name: str, delta: Delta) -> tuple[Tensor, Tensor]:
    """Inputs (n, in) of the named map at the answer tokens, and the gradients (n, out) of the loss at its output."""
    caught: list[Tensor] = []

    def catch(_: Any, given: tuple[Tensor], output: Tensor) -> None:
        caught[:] = [given[0].detach(), output]

    # Something below must want a gradient, or none would reach the map.
    drill = replace(drill, states=drill.states.clone().requires_grad_())
    hook = drill.core.linears[name].register_forward_hook(catch)
    with drill.core.using([delta]):
        loss = drill.loss()
    hook.remove()
    (slopes,), answered = torch.autograd.grad(loss, caught[1]), drill.targets != -100
    return caught[0][answered].float(), slopes[answered].float()


def breadth_first(core: Core, exam: Exam, epochs: int = 20, batch: int = 16, rate: float = 5e-4) -> Way:
    """Fine-tuning of one `mlp.down_proj`, all facts in every epoch (LocFT-BF, ICLR 2026): Adam, loss on the answer's
    tokens and its stop token, no step where the loss is below 1e-2."""
    cut = cut_at(core, 2 / 3)
    name = f"{cut.split}.mlp.down_proj"
    drill = Drill.of(cut, [lesson for forms in exam.forms for lesson in forms])
    out, inner = core.linears[name].weight.shape
    dense = torch.zeros(out, inner).requires_grad_()
    delta = Delta("breadth", {name: (dense, torch.eye(out))})
    optimizer = torch.optim.Adam([dense], lr=rate)
    generator = torch.Generator().manual_seed(0)
    for _ in range(epochs):
        for rows in torch.randperm(len(drill.states), generator=generator).split(batch):
            with cut.using([delta], merge=False):
                loss = drill.loss(rows)
                if float(loss.detach()) < 1e-2:
                    continue
                optimizer.zero_grad()
                loss.backward()
            optimizer.step()
    return weights(core, readers.frozen(delta), len(exam.facts))


def own_adapters(core: Core, exam: Exam, rank: int = 4, steps: int = 15, rate: float = 5e-3) -> Way:
    """A temporary LoRA for each fact on the MLPs of the top third (Temp-LoRA, arXiv 2401.11504, trained on one fact
    instead of a chunk): its line and two questions. The right one is switched on by an oracle, none otherwise."""
    cut = cut_at(core, 2 / 3)
    paths = sorted({name.partition(".")[2] for name in core.linears if ".mlp." in name})
    deltas: list[Delta] = []
    for i, (line, forms) in enumerate(zip(exam.lines, exam.forms, strict=True)):
        told = Lesson((core.sink_id,), (*core.encode(line), int(core.tokenizer.eos_token_id)))
        drill = Drill.of(cut, [told, *forms])
        delta = core.new_delta(f"fact {i}", paths, rank, first_layer=cut.split, seed=i)
        optimizer = torch.optim.AdamW(delta.parameters(), lr=rate, weight_decay=0.0)
        for _ in range(steps):
            optimizer.zero_grad()
            with cut.using([delta], merge=False):
                drill.loss().backward()
            optimizer.step()
        deltas.append(readers.frozen(delta))

    def ask(questions: Sequence[tuple[str, int]]) -> list[str]:
        return [baselines.answers(core, [question], (deltas[i],))[0] for question, i in questions]

    size = HALF * sum(t.numel() for t in deltas[0].parameters())
    return Way(ask, size, lambda _, ids, number: memory_logits(core, Row(ids), (deltas[number % len(deltas)],)))


def associate(core: Core, exam: Exam, null: float, share: float = 2 / 3, sharp: float = 40.0) -> Way:
    """A hidden-state memory in the manner of kNN-LM (Khandelwal et al. 2020, arXiv 1911.00172, eqs. 2 and 3): one
    forward pass of a question form stores (hidden state, next answer token). The core is one more entry, of similarity
    ``null``, in a softmax over ``sharp`` cosines of centred states."""
    drill = Drill.of(cut_at(core, share), [forms[0] for forms in exam.forms])
    answered = drill.targets != -100
    states, tokens = drill.states[answered].float(), drill.targets[answered]  # (n, width), (n,)
    centre = states.mean(0)
    keys = normalize(states - centre, dim=-1)

    def mix(seen: Tensor, logits: Tensor) -> Tensor:
        match = normalize(seen.float() - centre, dim=-1) @ keys.T  # (B, T, n)
        shares = (sharp * torch.nn.functional.pad(match, (0, 1), value=null)).softmax(-1)
        mixed = shares[..., -1:] * logits.float().softmax(-1)
        return mixed.index_add(-1, tokens, shares[..., :-1]).clamp(min=1e-30).log()

    def ask(questions: Sequence[tuple[str, int]]) -> list[str]:
        with mixing(core, drill.core.split, mix):
            return baselines.answers(core, [q for q, _ in questions])

    def on(_: str, ids: list[int], __: int) -> Tensor:
        with mixing(core, drill.core.split, mix):
            return bare_logits(core, ids)

    return Way(ask, len(keys) * (HALF * keys.shape[1] + 4) / len(exam.facts), on)


@contextmanager
def mixing(core: Core, layer: int, mix: Callable[[Tensor, Tensor], Tensor]) -> Iterator[None]:
    """Inside, the bare core's logits (B, T, V) pass through ``mix``, with the states (B, T, width) below ``layer``."""
    last: list[Tensor] = []

    def keep(_: Any, __: Any, output: Any) -> None:
        last[:] = [output[0] if isinstance(output, tuple) else output]

    def replaced(_: Any, __: Any, logits: Tensor) -> Tensor:
        return mix(last[0][:, -logits.shape[1] :], logits)

    below = getattr(core.model, core.model.base_model_prefix).layers[layer - 1]
    hooks = [below.register_forward_hook(keep), core.model.get_output_embeddings().register_forward_hook(replaced)]
    try:
        yield
    finally:
        for handle in hooks:
            handle.remove()


def run(
    json_path: Path | None = None,
    facts: int = 40,
    seed: int = 11,
    split: str = "tune",
    core: str | Core = cores.DEFAULT_CORE,
    say: Say | None = None,
) -> dict[str, Any]:
    """Write the same facts in every way, ask, and print the table; with ``json_path``, write JSON, Markdown and plot
    of that name. Raises InputError for the world on which rates are chosen."""
    if (seed, split) == (TUNING_SEED, "tune"):
        raise InputError(f"seed {TUNING_SEED} of the tune split is where rates are chosen: judge another seed")
    say = say or (lambda text: Console(stderr=True).print(text, highlight=False))
    core = core if isinstance(core, Core) else Core.load(core)
    judge = Judge(core, Exam(core, seed, facts, split), Exam(core, TUNING_SEED, TUNING_FACTS, "tune"), say)
    for part in (judge.baselines, judge.pages, judge.weights):
        part()
    settings: dict[str, Any] = {"facts": facts, "seed": seed, "split": split, "reader": readers.describe(judge.reader)}
    result: dict[str, Any] = {"bench": "writes", "settings": settings, "core": core.fingerprint, "machine": machine()}
    result |= {"rows": judge.rows, "curve": judge.curve, "trials": judge.trials, "answers": judge.answers}
    if json_path:
        io.write_atomic(json_path, json.dumps(result, indent=1).encode())
        io.write_atomic(json_path.with_suffix(".md"), markdown(result).encode())
        io.write_atomic(json_path.with_suffix(".png"), plot(result))
    Console().print("\n".join(tables(result)), soft_wrap=True, markup=False)
    return result


class Judge:
    """Writes the facts in one way after another and collects a row of numbers for each."""

    def __init__(self, core: Core, exam: Exam, tuning: Exam, say: Say):
        self.core, self.exam, self.tuning, self.say = core, exam, tuning, say
        self.reader = readers.find(core, (cores.cache_folder() / "readers",))
        self.rows, self.curve, self.trials = Table(), Table(), Table()
        self.answers: dict[str, Table] = {}
        rows = [(text, core.encode(text)) for text in texts.general()] + [(q, core.prompt(q)) for q in texts.chat()]
        self.unrelated = [(*row, bare_logits(core, row[1])) for row in rows]

    def judge(self, name: str, chosen_by: str, write: Callable[[], Way]) -> dict[str, Any]:
        """Write in one way, ask, and say how it went."""
        begun = time.process_time()
        way = write()
        spent = (time.process_time() - begun) / len(self.exam.facts)
        scores, self.answers[f"{name}, {chosen_by}"] = self.exam.score(way.ask)
        self.say(f"{name}, {chosen_by}: {scores['direct']:.2f} {scores['paraphrase']:.2f}, {spent:.2f} s a fact")
        row = {"name": name, "chosen_by": chosen_by, **scores, "cpu_s": spent, "bytes": way.size}
        # The points of the curve differ in what is kept, so their drift is that of the page in the table.
        return row if "bits" in name else row | {"kl": self.kl(way.logits)}

    @torch.no_grad()
    def kl(self, logits: Logits | None) -> float:
        """Mean KL to the bare core, in nats per token, on general text and chat."""
        if logits is None:
            return 0.0
        found = []
        for number, (text, ids, kept) in enumerate(self.unrelated):
            bare, own = kept.float().log_softmax(-1), logits(text, ids, number).float().log_softmax(-1)
            found.append(float((bare.exp() * (bare - own)).sum(-1).mean()))
        return sum(found) / len(found)

    def baselines(self) -> None:
        core, lines = self.core, self.exam.lines
        finders: dict[str, Callable[[str, int], list[str]]] = {"oracle": lambda _, i: [lines[i]]}
        if importlib.util.find_spec("bm25s"):
            search = baselines.bm25(lines)
            finders["bm25"] = lambda question, _: search(question, 1)
        bare = Way(lambda questions: baselines.answers(core, [q for q, _ in questions]), 0.0)
        self.rows.append(self.judge("bare core", "-", lambda: bare))
        for by, find in finders.items():
            way = Way(partial(self.pasted, find), sum(len(line.encode()) for line in lines) / len(lines))
            self.rows.append(self.judge("line pasted", by, lambda way=way: way))  # type: ignore[misc]
        naive = partial(baselines.naive_lora, core, lines)
        self.rows.append(self.judge("naive LoRA", "always on", lambda: weights(core, naive(), len(lines))))

    def pasted(self, find: Callable[[str, int], list[str]], questions: Sequence[tuple[str, int]]) -> list[str]:
        return baselines.answers(self.core, [baselines.paste(find(q, i), q) for q, i in questions])

    def pages(self) -> None:
        kept = ((16, True), (8, True), (4, True), (2, True), (8, False), (4, False))
        ways = [("page, no reader", 8, True, False), ("page, reader", 8, True, True)] if self.reader else []
        ways = ways or [("page, no reader (this core has none)", 8, True, False)]
        ways += [(f"{bits} bits" + ("" if small else ", no small words"), bits, small, True) for bits, small in kept]
        for name, bits, small, reading in ways:
            for chosen_by in ("oracle", "router"):
                # Without the reader its router stays, so that only the reading differs.
                tiers = Tiers(self.core, self.reader, LearnerConfig(recall=RecallConfig(bits=bits)))
                tiers.reader = self.reader if reading else None
                write = partial(pages, tiers, self.exam, oracle=chosen_by == "oracle", small_words=small)
                row = self.judge(name, chosen_by, write)
                (self.rows if name.startswith("page") else self.curve).append(row)

    def weights(self) -> None:
        core, exam = self.core, self.exam
        rate = self.best("rate of the gradient ridge", (3e-3, 1e-2, 3e-2), partial(ridge, core))
        null = self.best("the core's share of the association", (0.5, 0.7, 0.9), partial(associate, core))
        self.rows += [
            self.judge("gradient ridge", "always on", lambda: ridge(core, exam, rate)),
            self.judge("breadth-first fine-tuning", "always on", lambda: breadth_first(core, exam)),
            self.judge("own LoRA", "oracle", lambda: own_adapters(core, exam)),
            self.judge("hidden-state association", "always on", lambda: associate(core, exam, null)),
        ]

    def best(self, what: str, values: Sequence[float], write: Callable[[Exam, float], Way]) -> float:
        """The value with the best recall on the tuning world; the first of equals."""
        scores = []
        for value in values:
            found, _ = self.tuning.score(write(self.tuning, value).ask)
            scores.append((found["direct"] + found["paraphrase"]) / 2)
            self.trials.append({"what": what, "value": value, **found})
            self.say(f"  trying {what} {value:g}: {scores[-1]:.2f}")
        return values[scores.index(max(scores))]


HEAD = ("way to write", "chosen by", *KINDS, "CPU s a fact", "bytes a fact", "KL")
NUMBERS = {"direct": ".2f", "paraphrase": ".2f", "cpu_s": ".3f", "bytes": ",.0f", "kl": ".3f"}
ABOUT = """
{facts} one-line facts of the invented world (seed {seed}, split {split}), core {name} in {dtype}, {threads} thread(s).
A weight counts 2 bytes. KL: to the bare core, nats a token, on general text and chat, as the memory is used there (left
on where an oracle would shut it). Reader: {reader}. A page is told the line; the ways below it also which words are
subject, relation and value, so that rules make questions. On split tune the reader has heard the wordings of those
relations that train has too, of other names; the ways below it have not. What they have to choose was chosen on another
world:
"""


def tables(result: dict[str, Any]) -> list[str]:
    """The ways to write, and bytes against recall, as lines of Markdown."""
    form = {key: f"{{:{spec}}}".format for key, spec in NUMBERS.items()}
    cells = [[row["name"], row["chosen_by"], *(form[key](row[key]) for key in NUMBERS)] for row in result["rows"]]
    curve = []
    for oracle, router in zip(result["curve"][::2], result["curve"][1::2], strict=True):
        recall = [f"{point[kind]:.2f}" for point in (oracle, router) for kind in KINDS]
        curve.append([oracle["name"], f"{oracle['bytes']:,.0f}", *recall])
    head = ("page", "bytes a fact", "oracle: direct", "paraphrase", "router: direct", "paraphrase")
    return [*_table(HEAD, cells), "", *_table(head, curve)]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)]


def markdown(result: dict[str, Any]) -> str:
    """The results page."""
    settings = result["settings"]
    chosen = f"--facts {settings['facts']} --seed {settings['seed']}"
    command = f"`fastslow bench writes {chosen} --json docs/results/writes.json`"
    about = ABOUT.format(**{**result["core"], **result["machine"], **settings})
    trials = [[t["what"], f"{t['value']:g}", *(f"{t[kind]:.2f}" for kind in KINDS)] for t in result["trials"]]
    tried = _table(("what", "value", *KINDS), trials)
    parts = ["# Ways to write an episode", "", command, "", *tables(result), about, *tried]
    return "\n".join([*parts, "", "![recall, seconds and bytes](writes.png)", ""])


def plot(result: dict[str, Any]) -> bytes:
    """Recall against seconds a fact, and recall against the bytes of a page (PNG)."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(12, 5.4), layout="constrained")
    dashes = iter((":", "--", "-."))
    for n, row in enumerate(result["rows"]):
        label = f"{row['name']} ({row['chosen_by']})"
        if row["cpu_s"] < 1e-4:
            left.axhline(row["direct"], color="grey", linestyle=next(dashes), linewidth=1, label=label + ", direct")
            continue
        left.plot([row["cpu_s"]] * 2, [row[kind] for kind in KINDS], color=f"C{n}", linewidth=1)
        left.plot(row["cpu_s"], row["direct"], "o", color=f"C{n}", label=label)
        left.plot(row["cpu_s"], row["paraphrase"], "o", color=f"C{n}", markerfacecolor="white")
    left.set(xscale="log", xlabel="CPU seconds a fact", title="Full: direct question; hollow: paraphrase")
    for n, points in enumerate([result["curve"][::2], result["curve"][1::2]]):
        for kind, line in zip(KINDS, ("-", "--"), strict=True):
            for part, marker, note in ((points[:4], "o", ""), (points[4:], "^", ", small words dropped")):
                label = f"{part[0]['chosen_by']}: {kind}{note}"
                xs = [p["bytes"] / 1024 for p in part]
                right.plot(xs, [p[kind] for p in part], line + marker, color=f"C{n}", label=label, markersize=5)
    for point in result["curve"][:8:2]:
        right.annotate(point["name"], (point["bytes"] / 1024, 0.0), ha="center", fontsize=8)
    right.set(xscale="log", xlabel="KB a fact", title="What a page may lose")
    for axes in (left, right):
        axes.set(ylabel="recall", ylim=(-0.03, 1.05))
        axes.legend(frameon=False, fontsize=7, loc="upper left", bbox_to_anchor=(0, -0.14), ncols=2)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    pyplot.close(figure)
    return buffer.getvalue()
