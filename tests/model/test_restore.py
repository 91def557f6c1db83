"""NeMo's own restore on our files: the same logits, whatever the folder, and no class but ours."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
import yaml
from nemo.core import ModelPT
from nemo.core.classes import common as nemo_common

from dnabert_nemo.data.labelled import LabelledSequences, LabelledSteps, SampleShape
from dnabert_nemo.errors import CheckpointError
from dnabert_nemo.megatron.sizes import ParallelSizes
from dnabert_nemo.model import DnabertClassifier, DnabertModel, nemo_file, restore

SEQUENCES = ["ACGTACGTAC" * 4, "TTTTTGGGGGCCCCCAAAAA" * 2, "GATTACAGATTACA"]


def test_stock_restore_gives_our_class_and_the_same_logits(nemo: Path, new_model, logits) -> None:
    model = ModelPT.restore_from(str(nemo))
    assert type(model) is DnabertModel
    assert model.vocabulary.k == 3
    assert torch.equal(logits(model), logits(new_model()))


def test_restored_weights_come_from_the_file(nemo: Path, new_model, logits) -> None:
    changed = new_model()
    with torch.no_grad():
        changed.bert.output_layer.bias[:69] += torch.arange(69)
    changed.save_to(str(nemo))
    assert torch.equal(logits(ModelPT.restore_from(str(nemo))), logits(changed))
    assert not torch.equal(logits(changed), logits(new_model()))


def test_a_restored_model_is_saved_and_restored_from_anywhere(
    nemo: Path, logits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(nemo.parent)
    model = ModelPT.restore_from(nemo.name)
    assert Path.cwd() == nemo.parent
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    model.save_to("again.nemo")
    assert Path("again.nemo").read_bytes() == nemo.read_bytes()
    nemo.unlink()
    monkeypatch.chdir(tmp_path)
    assert torch.equal(logits(ModelPT.restore_from("elsewhere/again.nemo")), logits(model))


def test_restore_wants_a_model_of_its_kind(nemo: Path) -> None:
    model = restore(nemo, DnabertModel)
    assert not model.training
    with pytest.raises(CheckpointError, match=r"holds a .*DnabertModel and a DnabertClassifier is wanted"):
        restore(nemo, DnabertClassifier)


@pytest.mark.parametrize("target", ["os.mkdir", "somewhere.else.DnabertModel", "subprocess.Popen", None])
def test_a_target_of_the_files_choice_is_refused(nemo: Path, target: str | None) -> None:
    with tarfile.open(nemo, "r:") as tar:
        content = {member.name: tar.extractfile(member).read() for member in tar}
    config = yaml.safe_load(content["./model_config.yaml"]) | {"target": target}
    content["./model_config.yaml"] = yaml.safe_dump(config).encode()
    with tarfile.open(nemo, "w:") as tar:
        for name, value in content.items():
            info = tarfile.TarInfo(name)
            info.size = len(value)
            tar.addfile(info, io.BytesIO(value))
    with pytest.raises(CheckpointError, match=f"has target={target!r}, which is no model of"):
        restore(nemo, DnabertModel)
    if target is not None and hasattr(nemo_common, "UnsafeTargetError"):
        with pytest.raises(nemo_common.UnsafeTargetError):
            ModelPT.restore_from(str(nemo))


def test_stock_restore_runs_no_class_among_the_weights(nemo: Path, tmp_path: Path) -> None:
    class Malicious:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "evidence"),)

    file = nemo_file.read(nemo)
    nemo_file.write(nemo, file.config, file.vocabulary, {"bert.x": Malicious()})
    with pytest.raises(Exception, match=r"[Ww]eights.only"):
        ModelPT.restore_from(str(nemo))
    assert not (tmp_path / "evidence").exists()


def test_training_starts_from_a_file(nemo: Path, new_model, logits) -> None:
    other = DnabertModel(new_model(seed=7).cfg)
    other.start_from(nemo_file.read(nemo), str(nemo))
    other.build(ParallelSizes(), "fp32")
    assert torch.equal(logits(other), logits(new_model()))


def test_a_file_of_another_shape_is_refused(nemo: Path, new_model) -> None:
    deeper = DnabertModel(new_model(num_layers=3).cfg)
    deeper.start_from(nemo_file.read(nemo), str(nemo))
    with pytest.raises(CheckpointError, match=r"tiny\.nemo: has no tensor 'encoder\.layers\.2\."):
        deeper.build(ParallelSizes(), "fp32")


def test_a_classifier_takes_the_encoder_and_a_new_head(nemo: Path, new_classifier, new_model) -> None:
    classifier = new_classifier()
    classifier.start_from(nemo_file.read(nemo), str(nemo))
    classifier.build(ParallelSizes(), "fp32")
    language_model = dict(new_model().bert.named_parameters())
    for name, parameter in classifier.bert.named_parameters():
        if not name.startswith("head."):
            assert torch.equal(parameter, language_model[name])


def test_heads_share_what_their_encoder_makes(nemo: Path, new_classifier) -> None:
    one, other, longer, random = (
        new_classifier(freeze_encoder=True, **changed)
        for changed in ({"seed": 1}, {"seed": 2}, {"pooling": "mean"}, {"seed": 3})
    )
    for each in (one, other, longer):
        each.start_from(nemo_file.read(nemo), str(nemo))
    for each in (one, other, longer, random):
        each.build(ParallelSizes(), "fp32")
    assert not torch.equal(one.bert.head[0].weight, other.bert.head[0].weight)
    assert one.encoder_key == other.encoder_key
    assert len({each.encoder_key for each in (one, longer, random)}) == 3
    assert torch.equal(other.classify(one.encode(SEQUENCES)), other.predict(SEQUENCES))
    direct = [other.bert(step.micro_batches[0]).softmax(-1) for step in in_twos(SEQUENCES)]
    torch.testing.assert_close(other.predict(SEQUENCES, micro_batch_size=2), torch.cat(direct))


def in_twos(sequences: Sequence[str]) -> LabelledSteps:
    data = LabelledSequences(
        sequences, [0] * len(sequences), k=3, max_positions=64, pooling="centre", one_size=False
    )
    return LabelledSteps(data, SampleShape(2, 2), seed=None)


def test_a_classifier_travels_with_its_head_and_labels(new_classifier, tmp_path: Path) -> None:
    classifier = new_classifier(freeze_encoder=True)
    classifier.build(ParallelSizes(), "fp32")
    assert {n for n, p in classifier.bert.named_parameters() if p.requires_grad} == {
        f"head.{layer}.{kind}" for layer in (0, 2) for kind in ("weight", "bias")
    }
    with torch.no_grad():
        classifier.bert.head[2].bias += torch.tensor([1.0, 2.0, 3.0])
    classifier.save_to(str(tmp_path / "splice.nemo"))
    restored = restore(tmp_path / "splice.nemo", DnabertClassifier)
    assert restored.labels == ["donor", "acceptor", "none"]
    probabilities = restored.predict(SEQUENCES, micro_batch_size=2)
    assert torch.equal(probabilities, classifier.predict(SEQUENCES, micro_batch_size=2))
    torch.testing.assert_close(probabilities.sum(-1), torch.ones(3))
    torch.testing.assert_close(probabilities[1:2], restored.predict(SEQUENCES[1:2]))  # alone or in a batch
