"""How Megatron describes a sharded optimizer whose buckets end in padding: each parameter has its own."""

from __future__ import annotations

from contextlib import ExitStack

import torch
from megatron.core.distributed import DistributedDataParallel, DistributedDataParallelConfig

from dnabert_nemo.megatron.optimizer import MegatronAdamW, _closed_up
from dnabert_nemo.megatron.optimizer_settings import OptimizerSettings


def test_padding_between_buckets_moves_no_parameter(new_bert) -> None:
    bert = new_bert()
    config = DistributedDataParallelConfig(
        grad_reduce_in_fp32=True, use_distributed_optimizer=True, overlap_grad_reduce=True, bucket_size=1000
    )
    ddp = DistributedDataParallel(bert.config, config, bert)
    optimizer = MegatronAdamW(torch.nn.ModuleList([ddp]), OptimizerSettings(name="distributed_fused_adam"))
    [sharded] = optimizer.megatron.chained_optimizers
    padded = [b.grad_data.numel() - b.numel_unpadded for buffer in sharded.buffers for b in buffer.buckets]
    assert any(padded[:-1]), "no bucket before the last ends in padding"
    optimizer._make_moments(only_sharded=False)
    metadata = {"non_homogeneous_layers": True, "distrib_optim_sharding_type": "fully_reshardable"}
    model = bert.sharded_state_dict(metadata=metadata)

    def wrong() -> list[str]:
        described = optimizer.megatron.sharded_state_dict(model, is_loading=False, metadata=metadata)
        weights = {tensor.key: tensor.data for tensor in model.values() if hasattr(tensor, "key")}
        prefix = "optimizer.state.param."
        found = {
            each["param"].key.removeprefix(prefix): each["param"].data
            for each in described["param_state"].values()
        }
        assert found.keys() <= weights.keys()
        assert len(found) == len(list(bert.parameters()))
        return [name for name, tensor in found.items() if not torch.equal(tensor, weights[name])]

    assert wrong(), "megatron-core has been mended: _closed_up can go"
    with ExitStack() as stack:
        for buffer in sharded.buffers:
            stack.enter_context(_closed_up(buffer))
        assert wrong() == []
    assert wrong()
