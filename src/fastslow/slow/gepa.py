"""Evolving contexts with GEPA (arXiv 2507.19457; the extra ``fst``) and a language model that reflects.

GEPA rewrites a context as one text. What it gives back becomes items again, line by line, so that lines that were kept
keep what is known of them, and the budget holds here as well. A line that quotes a question it was written from is left
out; what else a reflector takes over from the few rollouts it saw is not guarded against.
"""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

from fastslow.errors import FastslowError, InputError
from fastslow.slow.contexts import Context, Item, survivors
from fastslow.slow.evolver import Roll
from fastslow.slow.rollouts import Rollout
from fastslow.worlds.tasks import Problem

PART, DOWN = "context", 3  # GEPA's name of the one text; failures of the reflector in a row that end a cycle
QUOTED = 12  # characters from which on a question in a line is a quotation
ASK = """You improve the instructions that a small language model reads before every question of one task.

The instructions now:
```
{text}
```

What the model did with them:
{records}

Write better instructions: short lines, each a rule or a fact that holds for many questions of this task. Keep the lines
that work. Never quote a question from above. At most {budget} characters. Answer with the instructions alone, between
two lines of three backticks.
"""


class ReflectorError(FastslowError):
    """The language model that reflects could not be reached, or did not answer."""


class OpenAIReflector:
    """A model behind an OpenAI-compatible endpoint: ``url`` up to and with ``/v1``. Called with a prompt it gives the
    answer. Raises ReflectorError."""

    def __init__(self, url: str, model: str, key: str = "", seconds: float = 120.0) -> None:
        if not url.startswith(("http://", "https://")):
            raise InputError(f"{url!r} is no address of an endpoint: give one that begins with http:// or https://")
        self.url, self.model, self.key, self.seconds = url.rstrip("/"), model, key, seconds

    def __call__(self, prompt: str) -> str:
        asked = {"model": self.model, "messages": [{"role": "user", "content": prompt}]}
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self.key}"} if self.key else {})
        request = urllib.request.Request(f"{self.url}/chat/completions", json.dumps(asked).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=self.seconds) as answer:
                return str(json.load(answer)["choices"][0]["message"]["content"])
        except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
            raise ReflectorError(f"{self.url} did not answer ({error}): is it running, with {self.model}?") from error


class GepaEvolver:
    """Contexts of at most ``budget`` characters, rewritten by ``reflector`` (prompt in, answer out) from ``minibatch``
    rollouts at a time. ``failed`` counts what it did wrong, by the reason; a cycle in which it fails again and again
    ends early, with the contexts it has."""

    def __init__(self, reflector: Callable[[str], str], budget: int, minibatch: int = 3) -> None:
        if budget < 1 or minibatch < 1:
            raise InputError(f"a budget of {budget} characters and minibatches of {minibatch}: give at least 1 of each")
        self.reflector, self.budget, self.minibatch = reflector, budget, minibatch
        self.failed, self.credit = Counter[str](), dict[str, list[int]]()

    def evolve(
        self,
        population: Sequence[Context],
        problems: Sequence[Problem],
        roll: Roll,
        cells: int,
        count: int,
        random: Random,
    ) -> list[Context]:
        """At most ``count`` contexts, the best first. The population carried over is scored anew, beyond ``cells``.

        Raises InputError for an empty population, no problems, or where the package gepa is not installed.
        """
        if not population or not problems:
            raise InputError(f"{len(population)} contexts and {len(problems)} problems: give at least one of each")
        try:
            import gepa
        except ModuleNotFoundError:
            raise InputError("GEPA needs the package gepa: pip install 'fastslow[fst]'") from None
        adapter: Any = _Adapter(self, population, roll)
        first, *others = adapter.pool
        seeds: Any = _Seeds(adapter, problems, others)
        result: Any = gepa.optimize(
            seed_candidate={PART: first},
            trainset=list(problems),
            valset=list(problems),
            adapter=adapter,
            max_metric_calls=cells + len(population) * len(problems),
            stop_callbacks=lambda state: adapter.down >= DOWN or seeds.error is not None,
            callbacks=[seeds],
            reflection_minibatch_size=min(self.minibatch, len(problems)),
            logger=_Quiet(),
            seed=random.randrange(2**31),
        )
        if seeds.error is not None:  # GEPA itself only warns of what a callback raises
            raise seeds.error
        texts = [candidate[PART] for candidate in result.candidates]
        found = {
            text: {problems[n].id: score for n, score in scores.items()}
            for text, scores in zip(texts, result.val_subscores, strict=True)
        }
        return [adapter.pool[text] for text in survivors(found, count)]


class _Adapter:
    """What GEPA asks for: scores of a text on problems, records to reflect on, and a new text."""

    def __init__(self, evolver: GepaEvolver, population: Sequence[Context], roll: Roll) -> None:
        self.evolver, self.roll, self.down = evolver, roll, 0
        self.pool = {"\n".join(context.lines()): context for context in population}

    def evaluate(self, batch: Sequence[Problem], candidate: Mapping[str, str], capture_traces: bool = False) -> Any:
        from gepa.core.adapter import EvaluationBatch

        rollouts = self.roll([(self.pool[candidate[PART]], problem) for problem in batch])
        scores = [rollout.score for rollout in rollouts]
        return EvaluationBatch(rollouts, scores, trajectories=rollouts if capture_traces else None)

    def make_reflective_dataset(
        self, candidate: Mapping[str, str], evaluated: Any, components: Sequence[str]
    ) -> dict[str, list[dict[str, Rollout]]]:
        return {PART: [{"rollout": rollout} for rollout in evaluated.trajectories]}

    def propose_new_texts(
        self,
        candidate: Mapping[str, str],
        dataset: Mapping[str, Sequence[Mapping[str, Rollout]]],
        components: Sequence[str],
    ) -> dict[str, str]:
        """Nothing where the reflector failed or changed nothing: GEPA then spends nothing either."""
        text, seen = candidate[PART], [record["rollout"] for record in dataset[PART]]
        asked = ASK.format(text=text, records="\n\n".join(map(_record, seen)), budget=self.evolver.budget)
        try:
            said = self.evolver.reflector(asked)
        except Exception as error:  # whatever a reflector raises, the training goes on without it
            self.evolver.failed[f"raised {type(error).__name__}"] += 1
            self.down += 1
            return {}
        self.down = 0
        fenced = re.search(r"```[a-z]*\n(.*?)\n?```", said, re.DOTALL)
        if not fenced:
            self.evolver.failed["no text between two fences"] += 1
            return {}
        context = self._written(fenced[1], self.pool[text], [rollout.problem for rollout in seen])
        told = "\n".join(context.lines())
        self.pool.setdefault(told, context)
        return {PART: told} if told != text else {}

    def _written(self, text: str, parent: Context, problems: Sequence[Problem]) -> Context:
        """The items of a text. A line that quotes a question would hold its answer, and is left out."""
        known = {item.text: item for item in parent.items}
        sources = frozenset(problem.id for problem in problems)
        asked = [problem.question.splitlines()[-1].strip() for problem in problems]
        items = []
        for line in dict.fromkeys(line.strip() for line in text.splitlines() if line.strip()):
            if line not in known and any(len(question) >= QUOTED and question in line for question in asked):
                self.evolver.failed["quoted a question"] += 1
                continue
            items.append(known.get(line) or Item("rule", line, sources=sources))
        return Context(tuple(items), parent.id, "reflection").plus([], self.evolver.budget, "reflection")


class _Seeds:
    """GEPA begins with one text; the others of the population join it before its first iteration."""

    def __init__(self, adapter: _Adapter, problems: Sequence[Problem], texts: Sequence[str]) -> None:
        self.adapter, self.problems, self.texts = adapter, list(problems), list(texts)
        self.error: Exception | None = None

    def on_iteration_start(self, event: Mapping[str, Any]) -> None:
        try:
            self._join(event)
        except Exception as error:
            self.error = error

    def _join(self, event: Mapping[str, Any]) -> None:
        from gepa.core.state import ValsetEvaluation

        state = event["state"]
        while self.texts:
            candidate = {PART: self.texts.pop(0)}
            found = self.adapter.evaluate(self.problems, candidate)
            outputs, scores = dict(enumerate(found.outputs)), dict(enumerate(found.scores))
            evaluated = ValsetEvaluation(outputs_by_val_id=outputs, scores_by_val_id=scores)
            state.update_state_with_new_program([0], candidate, evaluated, None, state.total_num_evals)
            state.increment_evals(len(self.problems))


class _Quiet:
    def log(self, message: str) -> None:
        pass


def _record(rollout: Rollout) -> str:
    verdict = rollout.verdict
    said = "Right." if rollout.score == 1 else verdict.feedback if verdict and verdict.feedback else "Wrong."
    return f"Question: {rollout.problem.question}\nAnswer: {rollout.answer.text}\nVerdict: {said}"
