"""Tiny cores with random weights, the same every time: real architectures at a size that tests can afford."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

SHAPES = ("llama", "qwen2", "qwen3", "gemma2", "gemma3_text")
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SIZES = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 2048,
}
CORPUS = """The quick brown fox jumps over the lazy dog. Mira lives in Tolvar and works at the old harbour.
When was the institute founded? The founding year of the institute is 1721. What is the capital of the north?
A user asks a question and the assistant gives a short answer. You are a helpful assistant.
The library opens at nine and closes at six. Her favourite colour is green, his is blue. They met in the garden.
"""


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE of at most 400 tokens with the ChatML template. Any text survives encode and decode."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS.splitlines(), trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        unk_token="<|endoftext|>",
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = CHATML
    return fast


def tiny_config(shape: str, vocab_size: int, **changes: Any) -> Any:
    """The config of one of SHAPES; ``changes`` go over the sizes."""
    settings: dict[str, Any] = {**SIZES, "vocab_size": vocab_size, "tie_word_embeddings": True}
    settings |= {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2, "initializer_range": 0.1}
    if shape == "qwen2":
        # Qwen2 knows no head_dim of its own: it is hidden_size / heads, which is 16 here too
        del settings["head_dim"]
    if shape.startswith("gemma"):
        # both kinds of layers, and a window short enough that a test prompt crosses it
        settings |= {"sliding_window": 16, "query_pre_attn_scalar": 16}
        settings["layer_types"] = ["sliding_attention", "full_attention"] * (settings["num_hidden_layers"] // 2)
    return AutoConfig.for_model(shape, **(settings | changes))


def make_tiny_core(folder: Path, shape: str = "llama", seed: int = 0, **changes: Any) -> Path:
    """Save a tiny fp32 core of one of SHAPES in Hugging Face format into ``folder`` and return it."""
    tokenizer = tiny_tokenizer()
    config = tiny_config(shape, len(tokenizer), **changes)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        # unlike the usual start, nothing is left at 0 or 1, so that no bias or norm can be forgotten unnoticed
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:
                around = 0.0 if name.endswith("bias") or shape.startswith("gemma") else 1.0
                torch.nn.init.normal_(parameter, mean=around, std=0.1)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
