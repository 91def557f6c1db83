"""LoRA: adapters of low rank beside attention's QKV and output products, whose own weights stay as they are.

y = W x + alpha / r * B A x, where A [r, in] is drawn and B [out, r] starts at zero, so that an adapter begins
as nothing (Hu et al. 2021, arXiv:2106.09685). Under tensor parallelism one of the two is whole on every rank,
A beside a column-parallel W and B beside a row-parallel one; the other is split as W is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from megatron.core.tensor_parallel import (
    copy_to_tensor_model_parallel_region,
    reduce_from_tensor_model_parallel_region,
)
from megatron.core.tensor_parallel.layers import (
    ColumnParallelLinear,
    RowParallelLinear,
    set_tensor_model_parallel_attributes,
)
from megatron.core.transformer.utils import make_sharded_tensors_for_checkpoint

from dnabert_nemo.megatron.lora_settings import A, B, LoraSettings

_ENCODER = {"embedding", "encoder"}  # the first part of a parameter's name, or the second after that of a run


class LoraColumnParallelLinear(ColumnParallelLinear):  # type: ignore[misc]
    """Megatron's layer whose outputs are split over the tensor ranks, with an adapter."""

    def __init__(self, input_size: int, output_size: int, **settings: Any) -> None:
        super().__init__(input_size, output_size, **settings)
        _add(self, input_size, self.output_size_per_partition, split=B)

    def forward(
        self, input_: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Map [T, 1, in] to this rank's [T, 1, out / R], and the bias that is left to add, if any."""
        output, bias = super().forward(input_, *args, **kwargs)
        inner = copy_to_tensor_model_parallel_region(F.linear(input_, self.lora_a))
        return output + self.lora_scale * F.linear(inner, self.lora_b), bias

    def sharded_state_dict(
        self, prefix: str = "", sharded_offsets: Any = (), metadata: Any = None
    ) -> dict[str, Any]:
        """Describe the tensors, of which A is whole on every rank."""
        return _described(self, {"weight": 0, "bias": 0, B: 0}, prefix, sharded_offsets, metadata)


class LoraRowParallelLinear(RowParallelLinear):  # type: ignore[misc]
    """Megatron's layer whose inputs are split over the tensor ranks, with an adapter."""

    def __init__(self, input_size: int, output_size: int, **settings: Any) -> None:
        super().__init__(input_size, output_size, **settings)
        _add(self, self.input_size_per_partition, output_size, split=A)

    def forward(self, input_: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Map this rank's [T, 1, in / R] to [T, 1, out], and the bias that is left to add, if any."""
        output, bias = super().forward(input_)
        inner = reduce_from_tensor_model_parallel_region(F.linear(input_, self.lora_a))
        return output + self.lora_scale * F.linear(inner, self.lora_b), bias

    def sharded_state_dict(
        self, prefix: str = "", sharded_offsets: Any = (), metadata: Any = None
    ) -> dict[str, Any]:
        """Describe the tensors, of which B is whole on every rank."""
        return _described(self, {"weight": 1, A: 1}, prefix, sharded_offsets, metadata)


def _add(linear: Any, num_inputs: int, num_outputs: int, *, split: str) -> None:
    settings: LoraSettings = linear.config.lora
    for name, size in ((A, (settings.rank, num_inputs)), (B, (num_outputs, settings.rank))):
        parameter = torch.nn.Parameter(
            torch.empty(size, dtype=linear.weight.dtype, device=linear.weight.device)
        )
        if name == split:
            set_tensor_model_parallel_attributes(parameter, True, int(name == A), 1)
        linear.register_parameter(name, parameter)
    linear.lora_scale = settings.scale


def _described(linear: Any, axes: dict[str, int], prefix: str, offsets: Any, metadata: Any) -> dict[str, Any]:
    described: dict[str, Any] = make_sharded_tensors_for_checkpoint(
        linear.state_dict(prefix="", keep_vars=True),
        prefix,
        axes,
        offsets,
        tp_group=linear.tp_group,
        dp_cp_group=metadata["dp_cp_group"],
    )
    return described


def whole_weight(linear: Any) -> torch.Tensor:
    """Return W + alpha / r * B A of a column-parallel layer [out / R, in]; W where it has no adapter."""
    weight: torch.Tensor = linear.weight
    if not isinstance(linear, LoraColumnParallelLinear):
        return weight
    return weight + linear.lora_scale * linear.lora_b @ copy_to_tensor_model_parallel_region(linear.lora_a)


def train_adapters_alone(stage: torch.nn.Module) -> None:
    """Freeze embedding and layers but for their adapters; a head is trained whole."""
    for name, parameter in stage.named_parameters():
        is_encoders = not _ENCODER.isdisjoint(name.split(".")[:2])
        parameter.requires_grad = not is_encoders or name.endswith((A, B))


def merged(
    config: dict[str, Any], whole: Mapping[str, torch.Tensor]
) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Add adapters to the weights that they stand beside; config and whole tensors of a model without any."""
    settings = LoraSettings.of(config)
    if settings is None:
        return config, dict(whole)
    plain = {name: tensor for name, tensor in whole.items() if not name.endswith((f".{A}", f".{B}"))}
    for name, a in whole.items():
        if name.endswith(f".{A}"):
            of = name.removesuffix(A)
            weight = plain[f"{of}weight"]
            product = whole[f"{of}{B}"].float() @ a.float()
            plain[f"{of}weight"] = (weight.float() + settings.scale * product).to(weight.dtype)
    return {**config, "lora": None}, plain
