"""Megatron's AdamW held against torch's: clipping, decay, 16 bits, and steps that change nothing."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from dnabert_nemo.errors import ConfigError
from dnabert_nemo.megatron import checkpoint
from dnabert_nemo.megatron.engine import data_parallel, run_step
from dnabert_nemo.megatron.losses import MaskedLMLoss
from dnabert_nemo.megatron.optimizer import MegatronAdamW
from dnabert_nemo.megatron.optimizer_settings import LossScaling, OptimizerSettings

NAMES = ("adamw", "fused_adam", "distributed_fused_adam")


@pytest.mark.parametrize(
    ("optim", "clip", "says"),
    [
        ({"name": "adam"}, 1.0, r"model\.optim\.name=adam is not known: choose one of adamw, fused_adam"),
        ({"lr": 0.0}, 1.0, r"model\.optim\.lr=0\.0 must be above 0"),
        ({"lr": -1e-4}, 1.0, r"model\.optim\.lr=-0\.0001: give a number of at least 0"),
        ({"lr": "fast"}, 1.0, r"model\.optim\.lr=fast: give a number"),
        ({"lr": float("nan")}, 1.0, r"model\.optim\.lr=nan: give a number"),
        ({"lr": True}, 1.0, r"model\.optim\.lr=True: give a number"),
        ({"eps": 0}, 1.0, r"model\.optim\.eps=0 must be above 0"),
        ({"weight_decay": -0.1}, 1.0, r"model\.optim\.weight_decay=-0\.1: give a number of at least 0"),
        ({"betas": [0.9]}, 1.0, r"model\.optim\.betas=\[0\.9\]: give two numbers"),
        ({"betas": 0.9}, 1.0, r"model\.optim\.betas=0\.9: give two numbers"),
        ({"betas": [0.9, 1.0]}, 1.0, r"model\.optim\.betas\[1\]=1\.0: .* at least 0 and below 1"),
        ({"betas": [None, 0.9]}, 1.0, r"model\.optim\.betas\[0\]=None: give a number"),
        ({"layer_decay": 0.0}, 1.0, r"model\.optim\.layer_decay=0\.0: give a number above 0, up to 1"),
        ({"layer_decay": 1.1}, 1.0, r"model\.optim\.layer_decay=1\.1: give a number above 0, up to 1"),
        ({"momentum": 0.9}, 1.0, r"model\.optim\.momentum is no key of an optimizer"),
        ({}, -1.0, r"trainer\.gradient_clip_val=-1\.0: give a number of at least 0"),
        ({}, None, r"trainer\.gradient_clip_val=None: give a number of at least 0"),
        ({}, float("inf"), r"trainer\.gradient_clip_val=inf"),
    ],
)
def test_settings_are_checked(optim: dict[str, object], clip: object, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        OptimizerSettings.of(optim, clip)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"initial": 0.5}, r"model\.native_amp_init_scale=0\.5: give a number of at least 1"),
        ({"growth_interval": 0}, r"model\.native_amp_growth_interval=0: give a whole number of at least 1"),
        ({"hysteresis": 1.5}, r"model\.hysteresis=1\.5: give a whole number"),
    ],
)
def test_loss_scaling_is_checked(changed: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        LossScaling(**changed)


@pytest.mark.parametrize("name", NAMES)
def test_three_steps_are_torchs(new_bert, micro_batch, name: str) -> None:
    settings = OptimizerSettings(
        name=name, lr=1e-2, weight_decay=0.1, betas=(0.9, 0.98), eps=1e-4, clip_grad=0.5
    )
    batches = [micro_batch((64, 64), seed, 0.2) for seed in range(3)]

    plain = new_bert()
    decayed = [parameter for parameter in plain.parameters() if parameter.dim() == 2]
    others = [parameter for parameter in plain.parameters() if parameter.dim() == 1]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    reference = torch.optim.AdamW(groups, lr=1e-2, betas=(0.9, 0.98), eps=1e-4)

    bert = new_bert()
    ddp = data_parallel(bert, distributed_optimizer=settings.distributed)
    optimizer = MegatronAdamW(ddp, settings)
    for batch in batches:
        reference.zero_grad()
        loss, count, _ = MaskedLMLoss(3)(plain(batch), batch)
        (loss / count).backward()
        norm = torch.nn.utils.clip_grad_norm_(plain.parameters(), 0.5)
        reference.step()

        optimizer.zero_grad()
        run_step(ddp, [batch], MaskedLMLoss(3), hidden_tokens=128, num_sums=5, training=True)
        optimizer.step()
        assert optimizer.last.grad_norm == pytest.approx(norm.item(), rel=1e-4)
        assert norm > 0.5  # clipping did something
    for (name, mine), theirs in zip(bert.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-5, msg=name)


@pytest.mark.parametrize("name", NAMES)
def test_rates_that_decay_by_layer_are_those_of_torchs_groups(new_bert, micro_batch, name: str) -> None:
    settings = OptimizerSettings(name=name, lr=1e-2, weight_decay=0.1, eps=1e-4, clip_grad=0, layer_decay=0.5)
    plain, bert = new_bert(), new_bert()
    num_layers = plain.config.num_layers

    def rate(of: str) -> float:
        if of.startswith("embedding."):
            return 1e-2 * 0.5 ** (num_layers + 1)
        if of.startswith("encoder.layers."):
            return 1e-2 * 0.5 ** (num_layers - int(of.split(".")[2]))
        return 1e-2

    reference = torch.optim.AdamW(
        [
            {"params": [parameter], "lr": rate(of), "weight_decay": 0.1 * (parameter.dim() > 1)}
            for of, parameter in plain.named_parameters()
        ],
        betas=settings.betas,
        eps=settings.eps,
    )
    ddp = data_parallel(bert, distributed_optimizer=settings.distributed)
    optimizer = MegatronAdamW(ddp, settings)
    assert len({group["lr"] for group in optimizer.param_groups}) == num_layers + 2
    for seed in range(3):
        batch = micro_batch((64, 64), seed, 0.2)
        reference.zero_grad()
        loss, count, _ = MaskedLMLoss(3)(plain(batch), batch)
        (loss / count).backward()
        reference.step()
        optimizer.zero_grad()
        run_step(ddp, [batch], MaskedLMLoss(3), hidden_tokens=128, num_sums=5, training=True)
        optimizer.step()
    for (of, mine), theirs in zip(bert.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-5, msg=of)


def test_a_schedule_sets_megatrons_rate(new_bert) -> None:
    ddp = data_parallel(new_bert(), distributed_optimizer=False)
    optimizer = MegatronAdamW(ddp, OptimizerSettings(lr=1e-3))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
    optimizer.step()
    schedule.step()
    assert {group["lr"] for group in optimizer.megatron.param_groups} == {5e-4}


class Trained:
    """A small model and its optimizer, stepped on one micro-batch."""

    def __init__(self, bert, batch, scaling: LossScaling | None = None, **settings: object) -> None:
        self.bert, self.batch = bert, batch
        chosen = OptimizerSettings(**{"lr": 1e-3, "eps": 1e-6, **settings})
        self.ddp = data_parallel(bert, distributed_optimizer=chosen.distributed)
        self.optimizer = MegatronAdamW(self.ddp, chosen, scaling)

    def step(self, **told: bool) -> float:
        self.optimizer.zero_grad()
        sums = run_step(self.ddp, [self.batch], MaskedLMLoss(3), hidden_tokens=128, num_sums=5, training=True)
        self.optimizer.step(**told)
        return float(sums[0] / sums[1])

    def weights(self) -> dict[str, torch.Tensor]:
        return {name: parameter.detach().clone() for name, parameter in self.bert.named_parameters()}


@pytest.fixture
def trained(new_bert, micro_batch):
    """Make a `Trained` of a precision."""

    def make(precision: str = "fp32", scaling: LossScaling | None = None, **settings: object) -> Trained:
        return Trained(new_bert(precision=precision), micro_batch((64, 64), 1, 0.2), scaling, **settings)

    return make


def unchanged(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(before[name], after[name]) for name in before)


def test_biases_and_norms_are_spared_by_name(trained) -> None:
    decay = 0.3
    a = trained(weight_decay=decay, lr=0.1, clip_grad=0.0)
    before = a.weights()
    for stage in a.ddp:
        stage.zero_grad_buffer()
    a.optimizer.step()  # the gradient is 0, so whatever moves is decayed
    moved = {name for name, weight in a.weights().items() if not torch.equal(weight, before[name])}
    matrices = {name for name, weight in before.items() if weight.dim() == 2}
    assert moved == matrices
    assert {name.split(".")[-1] for name in moved} == {"weight"}
    assert not [name for name in moved if "norm" in name]
    spared = set(before) - moved
    assert {name for name in before if name.endswith("bias") or "norm" in name} == spared
    for name in moved:
        torch.testing.assert_close(a.weights()[name], before[name] * (1 - 0.1 * decay))


def test_a_clip_of_zero_is_none(trained) -> None:
    clipped, free = trained(clip_grad=1e-3), trained(clip_grad=0.0)
    for each in (clipped, free):
        each.step()
    assert clipped.optimizer.last.grad_norm == free.optimizer.last.grad_norm > 0.1
    norms = []
    for each in (clipped, free):
        grads = [parameter.main_grad.norm() for parameter in each.bert.parameters()]
        norms.append(float(torch.stack(grads).norm()))
    assert norms[0] == pytest.approx(1e-3, rel=1e-2)
    assert norms[1] == pytest.approx(free.optimizer.last.grad_norm, rel=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", NAMES)
def test_a_step_that_is_not_finite_is_never_applied(trained, precision: str, name: str) -> None:
    a = trained(precision, name=name)
    a.step()
    assert a.optimizer.last.kind == "stepped"
    before = a.weights()
    a.step(loss=torch.tensor(float("nan")))
    assert a.optimizer.last.kind == "non-finite"
    assert unchanged(before, a.weights())
    first = next(iter(a.bert.parameters()))
    a.optimizer.zero_grad()
    first.main_grad[0] = float("nan")
    a.optimizer.step()
    assert a.optimizer.last.kind == "non-finite"
    assert not math.isfinite(a.optimizer.last.grad_norm)
    assert unchanged(before, a.weights())
    assert a.optimizer.num_skipped == 2
    a.step()
    assert a.optimizer.last.kind == "stepped"
    assert not unchanged(before, a.weights())


@pytest.mark.parametrize("name", NAMES)
def test_16_bit_weights_learn_through_fp32_ones(trained, name: str) -> None:
    lr = 1e-6  # the weights are about 0.05, where neighbours in bf16 are 2^-12 apart
    a = trained("bf16", name=name, lr=lr, weight_decay=0.0)
    before = a.weights()
    assert {weight.dtype for weight in before.values()} == {torch.bfloat16}
    for _ in range(3):
        a.step()
    assert {parameter.main_grad.dtype for parameter in a.bert.parameters()} == {torch.float32}
    held = [p for group in a.optimizer.param_groups for p in group["params"]]
    assert {p.dtype for p in held} == {torch.float32}
    big = [name for name, weight in before.items() if weight.dim() == 2]
    assert sum(int((a.weights()[name] != before[name]).sum()) for name in big) < 0.1 * sum(
        before[name].numel() for name in big
    )
    for _ in range(400):
        a.optimizer.step()  # the same gradient again, so each weight goes lr further the same way
    assert sum(int((a.weights()[name] != before[name]).sum()) for name in big) > 0.5 * sum(
        before[name].numel() for name in big
    )


@pytest.mark.parametrize("name", NAMES)
def test_fp16_scales_the_loss_and_skips_overflows(trained, name: str) -> None:
    a = trained("fp16", LossScaling(initial=2.0**30, growth_interval=3, hysteresis=2), name=name)
    exact = trained("fp32", name=name)
    before = a.weights()
    scales = []
    while a.optimizer.last.kind != "stepped" or not scales:
        assert unchanged(before, a.weights())
        scales.append(a.optimizer.loss_scale)
        a.step()
        assert a.optimizer.last.kind in ("overflow", "stepped")
        assert (a.optimizer.last.grad_norm is None) == (a.optimizer.last.kind == "overflow")
    assert scales[:3] == [2.0**30, 2.0**30, 2.0**29]  # the first overflow is forgiven
    assert all(later == earlier / 2 for earlier, later in pairwise(scales[1:]))
    assert a.optimizer.num_skipped == len(scales) - 1 > 3
    exact.step()
    assert a.optimizer.last.grad_norm == pytest.approx(exact.optimizer.last.grad_norm, rel=0.02)
    assert not unchanged(before, a.weights())
    scale = a.optimizer.loss_scale
    for _ in range(2):
        a.step()
    assert a.optimizer.loss_scale == 2 * scale  # after three steps without an overflow


def test_an_overflow_at_the_lowest_scale_is_no_matter_of_scale(trained) -> None:
    a = trained("fp16", LossScaling(initial=4.0, hysteresis=1))
    with torch.no_grad():
        next(iter(a.bert.parameters()))[0] = float("inf")
    seen = []
    for _ in range(4):
        a.step()
        seen.append((a.optimizer.last.kind, a.optimizer.loss_scale))
    assert seen == [("overflow", 2.0), ("overflow", 1.0), ("non-finite", 1.0), ("non-finite", 1.0)]


@pytest.mark.parametrize("name", NAMES)
def test_a_run_gone_on_with_keeps_its_loss_scale(trained, name: str, tmp_path) -> None:
    first = trained("fp16", LossScaling(initial=2.0**26, growth_interval=4), name=name)
    for _ in range(20):
        first.step()
    checkpoint.save(tmp_path / "at.ckpt", first.bert, first.optimizer, {})
    again = trained("fp16", LossScaling(initial=2.0**26, growth_interval=4), name=name)
    checkpoint.load(tmp_path / "at.ckpt", again.bert, again.optimizer)
    for _ in range(6):
        assert again.optimizer.loss_scale == first.optimizer.loss_scale < 2.0**26
        assert first.step() == again.step()
        assert first.optimizer.last == again.optimizer.last
    assert unchanged(first.weights(), again.weights())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("precision", "each"), [("fp32", 8), ("bf16", 12)])
def test_the_state_is_two_moments_and_fp32_weights(trained, name: str, precision: str, each: int) -> None:
    a = trained(precision, name=name)
    a.step()
    parameters = sum(parameter.numel() for parameter in a.bert.parameters())
    rest = a.optimizer.state_bytes() - each * parameters
    assert 0 <= rest <= 4 * len(a.weights()) + 4096  # counts of steps, and what pads a shard


def test_adamw_is_torchs_whatever_is_installed(trained, monkeypatch: pytest.MonkeyPatch) -> None:
    class Kernel(torch.optim.Adam):
        """Takes what apex's and Transformer Engine's FusedAdam take."""

        def __init__(self, params, adam_w_mode: bool, **settings: object) -> None:
            assert adam_w_mode
            super().__init__(params, **settings)

    monkeypatch.setattr("megatron.core.optimizer.Adam", Kernel)
    monkeypatch.setattr("megatron.core.optimizer.USING_PYTORCH_OPTIMIZER", False)
    kinds = {}
    for name in NAMES:
        a = trained(name=name)
        kinds[name] = type(a.optimizer.megatron.chained_optimizers[0].optimizer)
        before = a.weights()
        a.step()
        assert not unchanged(before, a.weights())
    assert set(kinds.values()) == {torch.optim.AdamW}
