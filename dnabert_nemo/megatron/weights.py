"""A model's weights as whole tensors by their one-rank names: drawn, gathered, spread over the ranks.

The names and shapes are those of the same model at tensor and pipeline size 1, whatever the sizes in use.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from megatron.core.dist_checkpointing.dict_utils import nested_values
from megatron.core.dist_checkpointing.mapping import ShardedTensor, is_main_replica
from megatron.core.transformer.module import MegatronModule

from dnabert_nemo.errors import CheckpointError
from dnabert_nemo.megatron import topology
from dnabert_nemo.megatron.lora_settings import A, B
from dnabert_nemo.megatron.shape import BertShape

_RESIDUAL_OUTPUTS = ("linear_proj.weight", "linear_fc2.weight")
_EMBEDDING = "embedding.word_embeddings.weight"
_POSITIONS = "embedding.position_embeddings.weight"


def shards(module: MegatronModule) -> Iterator[ShardedTensor]:
    """Walk over this rank's parameters, each with its one-rank name (`key`) and place in the whole."""
    for value in nested_values(module.sharded_state_dict(metadata={"non_homogeneous_layers": True})):
        if isinstance(value, ShardedTensor):
            yield value


@torch.no_grad()
def initialize(module: MegatronModule, shape: BertShape, seed: int) -> None:
    """Draw every weight from a generator keyed by (seed, name), so the sizes in use change nothing.

    Matrices are normal with `init_method_std`, the two that write to the residual stream divided by
    sqrt(2 L) as in Megatron-LM (Shoeybi et al. 2019); biases and vocabulary padding are zero, LayerNorm
    weights one. Learned positions start as sinusoids (Vaswani et al. 2017) of the same standard deviation:
    what attention learns of one distance then holds at every place.
    """
    for shard in shards(module):
        if len(shard.global_shape) == 1:
            shard.data.fill_(1.0 if shard.key.endswith("weight") else 0.0)
            continue
        if shard.key.endswith(B):  # an adapter begins as nothing
            shard.data.zero_()
            continue
        std = shape.init_method_std
        if shard.key.endswith(_RESIDUAL_OUTPUTS):
            std /= math.sqrt(2 * shape.num_layers)
        if shard.key.endswith(_POSITIONS):
            whole = math.sqrt(2) * std * _sinusoids(*shard.global_shape)
        else:
            digest = hashlib.sha256(f"{seed}:{shard.key}".encode()).digest()
            generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
            whole = torch.empty(shard.global_shape).normal_(0.0, std, generator=generator)
        if shard.key.endswith(_EMBEDDING):
            whole[shape.vocab_size :] = 0.0
        shard.data.copy_(whole[_slices(shard.global_offset, shard.local_shape)])


@torch.no_grad()
def gather(module: MegatronModule) -> dict[str, torch.Tensor]:
    """Collect the whole tensors on rank 0's CPU; every rank calls, the others get an empty dict."""
    mine = {(s.key, s.global_offset): s for s in shards(module) if is_main_replica(s.replica_id)}
    pieces_by_rank: list[list[_Piece]] = [[] for _ in range(dist.get_world_size())]
    dist.all_gather_object(
        pieces_by_rank,
        [_Piece(s.key, s.global_offset, s.local_shape, s.global_shape, s.dtype) for s in mine.values()],
    )
    rank = dist.get_rank()
    whole: dict[str, torch.Tensor] = {}
    for owner, pieces in enumerate(pieces_by_rank):
        for piece in pieces:
            if rank == owner:
                data = mine[piece.key, piece.offset].data.contiguous()
                if owner != 0:
                    dist.send(data, 0)
            elif rank == 0:
                data = torch.empty(piece.shape, dtype=piece.dtype, device=topology.device())
                dist.recv(data, owner)
            if rank == 0:
                if piece.key not in whole:
                    whole[piece.key] = torch.empty(piece.whole_shape, dtype=piece.dtype)
                whole[piece.key][_slices(piece.offset, piece.shape)] = data.cpu()
    return whole


@torch.no_grad()
def spread(
    module: MegatronModule, whole: Mapping[str, torch.Tensor], *, source: str, prefix: str = ""
) -> None:
    """Copy this rank's part of the whole tensors into its parameters whose names start with `prefix`.

    Adapters stay as they are where the tensors have none.

    Raises:
        CheckpointError: a tensor is missing or has another shape; `source` says where the tensors came from.
    """
    for shard in shards(module):
        if not shard.key.startswith(prefix):
            continue
        if shard.key not in whole and shard.key.endswith((A, B)):
            continue
        if shard.key not in whole:
            raise CheckpointError(f"{source}: has no tensor {shard.key!r}: it holds another kind of model")
        tensor = whole[shard.key]
        if tuple(tensor.shape) != tuple(shard.global_shape):
            raise CheckpointError(
                f"{source}: {shard.key!r} is {list(tensor.shape)} and the model's is "
                f"{list(shard.global_shape)}: "
                "give the model the sizes the file was made with (model.num_layers, model.hidden_size, "
                "tokenizer.k, ...)"
            )
        shard.data.copy_(tensor[_slices(shard.global_offset, shard.local_shape)])


@dataclass(frozen=True)
class _Piece:
    key: str
    offset: tuple[int, ...]
    shape: tuple[int, ...]
    whole_shape: tuple[int, ...]
    dtype: torch.dtype


def _sinusoids(num_positions: int, hidden_size: int) -> torch.Tensor:
    """Return sin and cos of each position at hidden_size / 2 frequencies from 1 to 1/10,000, [positions,
    H].
    """
    frequencies = torch.logspace(0, -4, hidden_size // 2)
    angles = torch.arange(num_positions)[:, None] * frequencies
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


def _slices(offset: Sequence[int], shape: Sequence[int]) -> tuple[slice, ...]:
    return tuple(slice(start, start + size) for start, size in zip(offset, shape, strict=True))
