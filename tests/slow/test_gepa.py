"""GEPA behind the same protocol: many texts to begin with, a reflector that fails is counted and skipped."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from random import Random

import pytest
import torch

from fastslow.errors import InputError
from fastslow.slow.contexts import Context, Item
from fastslow.slow.gepa import DOWN, GepaEvolver, OpenAIReflector, ReflectorError
from fastslow.slow.rollouts import Answer, Rollout
from fastslow.worlds.ciphers import Cipher, table
from fastslow.worlds.tasks import Problem, Verdict

TASK = Cipher(5, 1)
DRAWN = [TASK.problem(n) for n in range(12)]
PROBLEMS = [replace(problem, question=f"Which digit has {problem.question}?") for problem in DRAWN]
SEEDS = [Context((Item("rule", f"{letter}={digit}"),)) for letter, digit in list(table(5).items())[:2]]


def roll(pairs: Sequence[tuple[Context, Problem]]) -> list[Rollout]:
    """Reads rows and says 'x' where there is none."""
    found = []
    for context, problem in pairs:
        rows = dict(line.split("=") for line in context.lines(problem.id) if "=" in line)
        answer = Answer(torch.zeros(1), torch.zeros(1), rows.get(problem.question[-2], "x"))
        found.append(
            Rollout(
                problem, context.lines(problem.id), answer, TASK.verify(DRAWN[PROBLEMS.index(problem)], answer.text)
            )
        )
    return found


def told(prompt: str) -> str:
    """A reflector that keeps what there is and adds what the verdicts say."""
    text = re.findall(r"```\n(.*?)\n```", prompt, re.DOTALL)[0]
    return "Better:\n```\n" + "\n".join([*text.splitlines(), *re.findall(r"Verdict: (.=.)", prompt)]) + "\n```"


pytest.importorskip("gepa", reason="gepa is not installed")


def evolved(reflector: Callable[[str], str], **settings: int) -> tuple[GepaEvolver, list[Context]]:
    evolver = GepaEvolver(reflector, **{"budget": 60, **settings})
    return evolver, evolver.evolve(SEEDS, PROBLEMS, roll, 240, 3, Random(1))


def test_the_population_is_carried_on_and_gets_better() -> None:
    evolver, contexts = evolved(told)
    scores = [sum(r.score for r in roll([(context, p) for p in PROBLEMS])) for context in contexts]
    begun = max(sum(r.score for r in roll([(seed, p) for p in PROBLEMS])) for seed in SEEDS)
    assert 1 <= len(contexts) <= 3 and scores[0] > begun + 3 and scores[0] == max(scores)
    assert contexts[0].edit == "reflection" and not evolver.failed
    assert all(context.size() <= 60 for context in contexts)


@pytest.mark.parametrize(
    "answer, reason",
    [("half a\n``` fence", "no text between two fences"), ("```\nNow a whole question: {q}\n```", "quoted a question")],
)
def test_what_cannot_be_used_is_counted_and_skipped(answer: str, reason: str) -> None:
    evolver, contexts = evolved(lambda prompt: answer.format(q=re.findall(r"Question: (.+)", prompt)[0]))
    assert {context.id for context in contexts} == {seed.id for seed in SEEDS} and evolver.failed[reason] > 1


def test_a_reflector_that_is_down_ends_the_cycle_and_not_the_training() -> None:
    def down(prompt: str) -> str:
        raise ConnectionRefusedError

    evolver, contexts = evolved(down)
    assert evolver.failed == {"raised ConnectionRefusedError": DOWN}
    assert {context.id for context in contexts} == {seed.id for seed in SEEDS}


@pytest.fixture
def endpoint() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            said = f"{self.path} {asked['model']} {asked['messages'][0]['content']} {self.headers['Authorization']}"
            body = {"choices": [{"message": {"content": said}}]} if asked["model"] != "odd" else {"choices": []}
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


def test_any_endpoint_of_the_usual_kind_reflects(endpoint: str) -> None:
    assert OpenAIReflector(endpoint, "m", "secret")("hello") == "/v1/chat/completions m hello Bearer secret"
    with pytest.raises(ReflectorError, match="is it running"):
        OpenAIReflector(endpoint, "odd")("hello")
    with pytest.raises(ReflectorError, match="is it running"):
        OpenAIReflector("http://127.0.0.1:9/v1", "m", seconds=1)("hello")
    with pytest.raises(InputError, match="http"):
        OpenAIReflector("localhost", "m")


def test_an_empty_population_is_refused() -> None:
    with pytest.raises(InputError, match="at least one"):
        GepaEvolver(told, 60).evolve([], PROBLEMS, roll, 10, 2, Random(1))
    with pytest.raises(InputError, match="at least 1"):
        GepaEvolver(told, 0)


def test_a_reflector_without_a_text_costs_no_rollouts_beyond_the_minibatches() -> None:
    random, spent = Random(3), []

    def lucky(pairs: Sequence[tuple[Context, Problem]]) -> list[Rollout]:
        spent.append(len(pairs))
        told = Answer(torch.zeros(1), torch.zeros(1), "x")
        return [Rollout(p, c.lines(p.id), told, Verdict(float(random.random() < 0.5))) for c, p in pairs]

    evolver = GepaEvolver(lambda prompt: "no fences", 60)
    contexts = evolver.evolve(SEEDS, PROBLEMS, lucky, 60, 3, Random(1))
    assert {context.id for context in contexts} == {seed.id for seed in SEEDS}
    assert spent.count(len(PROBLEMS)) == len(SEEDS) and evolver.failed["no text between two fences"] > 3
