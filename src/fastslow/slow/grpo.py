"""Fast-slow training on GPUs: the slow steps of arXiv 2605.12484 through trl's GRPOTrainer (the extra ``trl``).

What stays as published: a problem's G rollouts are spread over K contexts, and are one group. What is trl's own: tokens
count alike over the whole batch and not by problem, problems without a difference stay in with an advantage of 0, and
nothing drawn for evolving is learned from, because its log-probabilities are not known.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import torch
from transformers import TrainerCallback

from fastslow.errors import InputError
from fastslow.slow.contexts import Context, under
from fastslow.slow.evolver import Evolver, ItemEvolver
from fastslow.slow.fast_slow import BUDGET, FSTConfig
from fastslow.slow.gepa import GepaEvolver, ReflectorError
from fastslow.slow.rollouts import Answer, Rollout
from fastslow.slow.verifying import Judge
from fastslow.store import io
from fastslow.worlds.tasks import Problem, Task

CONTEXTS = "contexts.json"  # beside what trl keeps of a checkpoint


def assigned(position: int, group: int, contexts: int) -> int:
    """Which of the ``contexts`` the rollout at this position takes. Positions count over the batches of all processes;
    a group is ``group`` of them in a row, and each context has a run of it."""
    return position % group * contexts // group


def grpo_trainer(
    model: Any,
    tokenizer: Any,
    task: Task,
    config: FSTConfig | None = None,
    *,
    steps: int,
    folder: Path | str,
    longest: int = 64,
    rows: int | None = None,
    evolver: Evolver | None = None,
    population: Sequence[Context] = (Context(),),
    peft_config: Any = None,
    **settings: Any,
) -> Any:
    """A GRPOTrainer of ``steps`` steps with answers of at most ``longest`` tokens. A process learns from ``rows``
    rollouts at a time, by default all of its share of a step. ``settings`` are of GRPOConfig, such as
    ``use_vllm=True``; ``trainer.fast.contexts`` is what the contexts have become.

    Raises InputError where trl is not installed, where the settings have no weights to train, and where neither
    the contexts nor the rows divide what they share.
    """
    config = config or FSTConfig()
    if not config.learn:
        raise InputError("trl trains weights: for contexts alone take FastSlowTrainer with learn=False")
    if not population or config.group % len(population):
        raise InputError(f"{len(population)} contexts to begin with: give a number that divides the group")
    processes, batch = int(os.environ.get("WORLD_SIZE", "1")), config.problems * config.group
    rows = rows or batch // processes
    if not rows or batch % (rows * processes):
        raise InputError(f"{batch} rollouts of a step do not come out even at {rows} rows on {processes} processes")
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # rollout_func is new there, and pinned here
    try:
        from datasets import Dataset
        from trl import GRPOConfig, GRPOTrainer
    except ModuleNotFoundError:
        raise InputError("this needs the package trl: pip install 'fastslow[trl]'") from None
    fast = FastPhase(task, config, evolver or ItemEvolver(BUDGET), population)
    problems = [task.problem(index) for index in range(steps * config.problems)]
    trainer: Any = GRPOTrainer(
        model=model,
        processing_class=tokenizer,
        args=GRPOConfig(
            output_dir=str(folder),
            max_steps=steps,
            max_completion_length=longest,
            per_device_train_batch_size=rows,
            gradient_accumulation_steps=batch // (rows * processes),
            **_published(config) | settings,
        ),
        train_dataset=Dataset.from_list([{"prompt": problem.id} for problem in problems]),
        reward_funcs=fast.rewards,
        rollout_func=fast.rollouts,
        callbacks=[fast],
        peft_config=peft_config,
    )
    fast.join(trainer, problems)
    return trainer


def _published(config: FSTConfig) -> dict[str, Any]:
    """The settings of trl that make its steps those of the paper."""
    on_gpu = torch.cuda.is_available()
    return {
        "seed": config.seed,
        "learning_rate": config.rate,
        "lr_scheduler_type": "constant_with_warmup",
        "warmup_steps": config.warm,
        "weight_decay": 0.0,
        "num_generations": config.group,
        "num_iterations": 1,
        "shuffle_dataset": False,  # the fast phase looks ahead
        "temperature": 1.0,
        "loss_type": "cispo",
        "epsilon_high": config.tau,  # in trl this is the bound of the ratio itself
        "scale_rewards": "group",
        "beta": config.kl,
        "use_cpu": not on_gpu,
        "bf16": on_gpu,
        "report_to": "none",
    }


class FastPhase(TrainerCallback):
    """Evolves the contexts before every T-th step, spreads the rollouts of a step over them, and asks the verifier. A
    prompt of trl is the id of a problem here: what the model reads is made under a context."""

    def __init__(self, task: Task, config: FSTConfig, evolver: Evolver, population: Sequence[Context]) -> None:
        self.config, self.evolver, self.contexts, self.judge = config, evolver, list(population), Judge(task)
        self.spent = {"fast": 0, "slow": 0}
        self.trainer: Any = None
        self.problems: list[Problem] = []

    def join(self, trainer: Any, problems: Sequence[Problem]) -> None:
        """What is trained, and on what."""
        self.trainer, self.problems = trainer, list(problems)
        self._by_id = {problem.id: problem for problem in problems}
        trainer.fast = self
        if isinstance(self.evolver, GepaEvolver):
            self.evolver.reflector = self._once(self.evolver.reflector)

    def _once(self, reflector: Callable[[str], str]) -> Callable[[str], str]:
        """A reflector that one process asks and all hear, because all must evolve the same contexts."""
        from accelerate.utils import broadcast_object_list

        def ask(prompt: str) -> str:
            said: list[Any] = [None]
            if self.trainer.accelerator.is_main_process:
                try:
                    said = [reflector(prompt)]
                except Exception as error:
                    said = [ReflectorError(str(error))]
            broadcast_object_list(said)
            if isinstance(said[0], Exception):
                raise said[0]
            return str(said[0])

        return ask

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step:
            self._load(Path(args.output_dir) / f"checkpoint-{state.global_step}" / CONTEXTS)

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if not self.config.evolve or state.global_step % self.config.cycle_steps:
            return
        first = state.global_step * self.config.problems
        anchors = self.problems[first : first + self.config.cycle_steps * self.config.problems]
        cells = round(self.config.passes * len(anchors))
        random = Random(f"{self.config.seed}-{state.global_step}-evolve")
        self.contexts = self.evolver.evolve(self.contexts, anchors, self._roll, cells, self.config.contexts, random)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        about = {
            "contexts": [context.to_dict() for context in self.contexts],
            "credit": self.evolver.credit,
            "spent": self.spent,
        }
        if state.is_world_process_zero:
            file = Path(args.output_dir) / f"checkpoint-{state.global_step}" / CONTEXTS
            io.write_atomic(file, json.dumps(about, indent=1).encode())

    def _load(self, file: Path) -> None:
        if not file.exists():
            raise InputError(
                f"{file} is missing, without which the training cannot go on: put the checkpoint back there"
            )
        about = json.loads(file.read_text(encoding="utf-8"))
        self.contexts = [Context.from_dict(each) for each in about["contexts"]]
        self.evolver.credit, self.spent = about["credit"], about["spent"]

    def rollouts(self, prompts: Sequence[str], trainer: Any) -> dict[str, Any]:
        """What trl asks a ``rollout_func`` for: rows in the order of the prompts."""
        first, group, count = trainer.accelerator.process_index * len(prompts), self.config.group, len(self.contexts)
        chosen = [assigned(first + n, group, count) for n in range(len(prompts))]
        problems = [self._by_id[prompt] for prompt in prompts]
        read = [
            self._read(self.contexts[c].lines(problem.id), problem.question)
            for c, problem in zip(chosen, problems, strict=True)
        ]
        # a server with vLLM asks once for equal prompts in a row, and every context has a run of this length
        run = group // count if group % count == 0 else 1
        said, likely = trainer._generate_single_turn(read, None, {}, run)
        self.spent["slow"] += len(read) * trainer.accelerator.num_processes
        return {"prompt_ids": read, "completion_ids": said, "logprobs": likely, "context": chosen}

    def rewards(self, prompts: Sequence[str], completions: Sequence[str], **_: Any) -> list[float | None]:
        """None where the verifier failed: trl leaves it out of the group."""
        verdicts = [self.judge(self._by_id[p], said) for p, said in zip(prompts, completions, strict=True)]
        return [verdict.score if verdict else None for verdict in verdicts]

    def _roll(self, pairs: Sequence[tuple[Context, Problem]]) -> list[Rollout]:
        """Every process draws its share, and all have all, so that all evolve the same contexts."""
        from accelerate.utils import gather_object

        process, processes = self.trainer.accelerator.process_index, self.trainer.accelerator.num_processes
        share = -(-len(pairs) // processes)
        filled = [*pairs, *pairs[-1:] * (share * processes - len(pairs))]
        mine = list(self._drawn(filled[process * share : (process + 1) * share]))
        self.spent["fast"] += len(pairs)
        return list(gather_object(mine))[: len(pairs)]

    def _drawn(self, pairs: Sequence[tuple[Context, Problem]]) -> Iterator[Rollout]:
        trainer = self.trainer
        rows = trainer.args.per_device_train_batch_size
        for at in range(0, len(pairs), rows):
            lines = [context.lines(problem.id) for context, problem in pairs[at : at + rows]]
            asked = [problem for _, problem in pairs[at : at + rows]]
            read = [self._read(told, problem.question) for told, problem in zip(lines, asked, strict=True)]
            said, _ = trainer._generate_single_turn(read, None, {}, 1)
            texts = trainer.processing_class.batch_decode(said, skip_special_tokens=True)
            for told, problem, ids, text in zip(lines, asked, said, texts, strict=True):
                answer = Answer(torch.tensor(ids), torch.empty(0), text)
                yield Rollout(problem, told, answer, self.judge(problem, text))

    def _read(self, lines: tuple[str, ...], question: str) -> list[int]:
        tokenizer, said = self.trainer.processing_class, under(lines, question)
        turn: Mapping[str, str] = {"role": "user", "content": said}
        text = tokenizer.apply_chat_template([turn], tokenize=False, add_generation_prompt=True)
        ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids
