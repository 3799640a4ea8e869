"""A decoder with any memory in each block: cut, stepped, saved; and a hybrid of several."""

from __future__ import annotations

import json

import pytest
import torch
from contract import assert_any_cut_gives_the_same

from fastslow.errors import InputError, StoreError
from fastslow.fast.frame import LayerConfig
from fastslow.models.decoder import MEMORIES, Decoder, DecoderConfig

LAYER = LayerConfig(width=8, heads=2, key=4, value=4, chunk=4)
HYBRID = ("gated_delta_net", "attention", "lstm", "titans")
every = pytest.mark.parametrize("blocks", [*((name,) for name in MEMORIES), HYBRID], ids=lambda b: "-".join(b))


def make(blocks: tuple[str, ...]) -> Decoder:
    torch.manual_seed(0)
    return Decoder(DecoderConfig(11, blocks, LAYER, hidden=12)).double()


def tokens(length: int = 9) -> torch.Tensor:
    return torch.randint(11, (2, length), generator=torch.Generator().manual_seed(1))


@every
def test_any_cut_every_step_and_a_reload_give_the_same(blocks: tuple[str, ...]) -> None:
    decoder, ids = make(blocks), tokens()
    assert decoder(ids, decoder.init_state(2))[0].shape == (2, 9, 11)
    assert_any_cut_gives_the_same(decoder, ids, [5])


@torch.no_grad()
def test_what_it_says_goes_on_from_a_state() -> None:
    decoder, ids = make(HYBRID), tokens()
    said, _ = decoder.generate(ids, 4, temperature=0)
    _, state = decoder(ids[:, :6], decoder.init_state(2))
    assert decoder.generate(ids[:, 6:], 4, state=state, temperature=0)[0].equal(said)
    drawn = [decoder.generate(ids, 4, seed=seed)[0] for seed in (1, 1, 2)]
    assert drawn[0].equal(drawn[1]) and not drawn[0].equal(drawn[2])


def test_a_wrong_state_token_or_setting_is_refused() -> None:
    decoder, other = make(("retnet",)), make(("gla",))
    with pytest.raises(StoreError, match=r"retnet.*gla"):
        other(tokens(), decoder.init_state(2))
    with pytest.raises(InputError, match="between 0 and 10"):
        decoder(tokens() + 1, decoder.init_state(2))
    with pytest.raises(InputError, match="no memory 'lstn'"):
        DecoderConfig(11, ("lstn",), LAYER)
    config = decoder.config
    assert DecoderConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    with pytest.raises(InputError, match="not the settings of a decoder"):
        DecoderConfig.from_dict(config.to_dict() | {"depth": 2})
