"""HuggingFace folders, both ways: the same logits there, the same bits back, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from dnabert_nemo.data.batch import MicroBatch
from dnabert_nemo.errors import CheckpointError, FormatError
from dnabert_nemo.kmer.vocabulary import Vocabulary
from dnabert_nemo.model import DnabertModel, nemo_file, restore
from dnabert_nemo.model.huggingface import read_folder, write_folder

transformers = pytest.importorskip("transformers")
KINDS = {"pre_ln": "MegatronBertForMaskedLM", "post_ln": "BertForMaskedLM"}
SENTENCES = ["ACG CGT GTA TAC ACC CCC", "AAA AAT", "acg TTT GNA [MASK] TTT"]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Where the folders are, and which have been made."""
    return {"": tmp_path_factory.mktemp("folders")}


@pytest.fixture
def made(kept: dict[str, Path], new_model) -> Callable[[str], Path]:
    """Write a .nemo file of random weights, none of them 0 or 1, and its folder; return the folder."""

    def make(block_type: str) -> Path:
        folder = kept[""] / block_type
        if block_type not in kept:
            model = new_model(transformer_block_type=block_type, init_method_std=0.1)
            generator = torch.Generator().manual_seed(3)
            with torch.no_grad():
                for parameter in model.bert.parameters():
                    if parameter.dim() == 1:
                        parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
                model.bert.output_layer.bias[69:] = 0
            model.save_to(str(folder.with_suffix(".nemo")))
            write_folder(folder, nemo_file.read(folder.with_suffix(".nemo")), "model.nemo")
            kept[block_type] = folder
        return folder

    return make


@torch.no_grad()
def ours(model: DnabertModel, ids: torch.Tensor) -> torch.Tensor:
    """Return our logits [T, V] of one sample."""
    length, none = len(ids), torch.empty(0)
    everywhere = torch.arange(length)
    batch = MicroBatch(ids, everywhere, (length,), everywhere, ids, none, none, none, length, 1)
    return model.eval()(batch)[:, : model.shape.vocab_size]


@torch.no_grad()
def assert_same_logits(model: DnabertModel, theirs: Any, batch: Any) -> None:
    """Hold our logits of each sample, alone, against theirs of a padded batch."""
    logits = theirs.eval()(**batch).logits
    assert logits.std() > 0.1
    for ids, mask, expected in zip(batch["input_ids"], batch["attention_mask"], logits, strict=True):
        length = int(mask.sum())
        torch.testing.assert_close(ours(model, ids[:length]), expected[:length], rtol=0, atol=1e-5)


@pytest.mark.parametrize("block_type", KINDS)
def test_auto_classes_open_it_with_our_logits(made, block_type: str) -> None:
    folder = made(block_type)
    theirs = transformers.AutoModelForMaskedLM.from_pretrained(folder)
    assert type(theirs).__name__ == KINDS[block_type]
    assert theirs.config.vocab_size == 69
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    batch = tokenizer(SENTENCES, padding=True, return_tensors="pt")
    assert batch["input_ids"].shape == (3, 8)
    model = restore(folder.with_suffix(".nemo"), DnabertModel)
    assert_same_logits(model, theirs, batch)


def test_auto_tokenizer_gives_our_ids(made) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(made("pre_ln"))
    tokens = Vocabulary(3).tokens
    assert tokenizer(" ".join(tokens[5:]), add_special_tokens=False)["input_ids"] == list(range(5, 69))
    assert tokenizer("ACG acg GNA [MASK]")["input_ids"] == [
        2,
        tokens.index("ACG"),
        tokens.index("ACG"),
        1,
        4,
        3,
    ]
    assert len(tokenizer) == 69
    assert (tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.mask_token_id) == (0, 1, 4)
    assert tokenizer.decode([2, 5, 6, 3]) == "[CLS] AAA AAT [SEP]"
    assert tokenizer.model_max_length == 64


@pytest.mark.parametrize("block_type", KINDS)
def test_there_and_back_is_the_same_to_the_bit(made, tmp_path: Path, block_type: str) -> None:
    folder = made(block_type)
    imported = read_folder(folder)
    assert imported.notes == ()
    before = nemo_file.read(folder.with_suffix(".nemo"))
    file = imported.file
    nemo_file.write(tmp_path / "back.nemo", file.config, file.vocabulary, file.weights)
    after = nemo_file.read(tmp_path / "back.nemo")
    assert after.weights.keys() == before.weights.keys()
    for name, tensor in before.weights.items():
        assert torch.equal(after.weights[name].view(torch.int32), tensor.view(torch.int32)), name
    assert after.config["transformer_block_type"] == block_type
    same = ("num_layers", "hidden_size", "layernorm_epsilon", "max_position_embeddings", "init_method_std")
    assert [after.config.get(key) for key in same] == [before.config.get(key, 1e-12) for key in same]
    assert after.provenance["imported_from"]["file"] == "model.safetensors"
    write_folder(tmp_path / "again", after, "back.nemo")
    for name in ("model.safetensors", "vocab.txt", "tokenizer.json", "config.json"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_bf16_stays_bf16(made, tmp_path: Path) -> None:
    file = nemo_file.read(made("post_ln").with_suffix(".nemo"))
    narrow = {name: tensor.bfloat16() for name, tensor in file.weights.items()}
    write_folder(tmp_path / "bf16", nemo_file.NemoFile(file.config, file.vocabulary, narrow), "x")
    back = read_folder(tmp_path / "bf16").file
    assert all(torch.equal(back.weights[name], tensor) for name, tensor in narrow.items())
    assert transformers.AutoModelForMaskedLM.from_pretrained(tmp_path / "bf16").dtype == torch.bfloat16


def test_a_classifier_has_no_folder(new_classifier, tmp_path: Path) -> None:
    classifier = new_classifier()
    file = nemo_file.NemoFile(classifier.file_config(), classifier.vocabulary, {})
    with pytest.raises(CheckpointError, match=r"splice\.nemo: holds a .*DnabertClassifier"):
        write_folder(tmp_path / "folder", file, "splice.nemo")
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def random_bert(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A random BertForMaskedLM with the original DNABERT's vocabulary, k = 6, as its folder is laid."""
    config = transformers.BertConfig(
        vocab_size=4101,
        hidden_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=80,
        max_position_embeddings=40,
        type_vocab_size=2,
        initializer_range=0.1,
    )
    torch.manual_seed(5)
    model = transformers.BertForMaskedLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter += 0.2 * torch.randn(parameter.shape)
    folder = tmp_path_factory.mktemp("original") / "DNA_bert_6"
    model.save_pretrained(folder)
    Vocabulary(6).write(folder / "vocab.txt")  # the original's, byte for byte: tests/kmer/test_vocabulary.py
    return folder, model


def test_the_original_dnabert_comes_in_with_its_logits(random_bert, tmp_path: Path) -> None:
    folder, theirs = random_bert
    imported = read_folder(folder)
    assert [note.split(":")[0] for note in imported.notes] == ["token types"]
    file = imported.file
    nemo_file.write(tmp_path / "dna_bert_6.nemo", file.config, file.vocabulary, file.weights)
    model = restore(tmp_path / "dna_bert_6.nemo", DnabertModel)
    assert (model.vocabulary.k, model.shape.padded_vocab_size) == (6, 4224)
    ids = torch.randint(0, 4101, (3, 40), generator=torch.Generator().manual_seed(1))
    lengths = torch.tensor([40, 25, 3])
    mask = (torch.arange(40) < lengths[:, None]).long()
    assert_same_logits(model, theirs, {"input_ids": ids * mask, "attention_mask": mask})


@pytest.fixture
def copy(random_bert, tmp_path: Path) -> Path:
    """A folder of the original's kind to change."""
    return Path(shutil.copytree(random_bert[0], tmp_path / "copy"))


def test_an_old_pickled_file_is_read_as_tensors(copy: Path) -> None:
    expected = read_folder(copy).file.weights
    tensors = load_file(copy / "model.safetensors")
    (copy / "model.safetensors").unlink()
    config = json.loads((copy / "config.json").read_text())
    del config["model_type"]
    (copy / "config.json").write_text(json.dumps(config | {"num_rnn_layer": 1, "split": 10}))
    words, bias = tensors["bert.embeddings.word_embeddings.weight"], tensors["cls.predictions.bias"]
    old = {name.replace("LayerNorm.weight", "LayerNorm.gamma"): tensor for name, tensor in tensors.items()}
    old = {name.replace("LayerNorm.bias", "LayerNorm.beta"): tensor for name, tensor in old.items()}
    old |= {"cls.predictions.decoder.weight": words, "cls.predictions.decoder.bias": bias}
    old |= {"bert.pooler.dense.weight": torch.ones(48, 48), "bert.embeddings.position_ids": torch.arange(40)}
    torch.save(old, copy / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    imported = read_folder(copy)
    assert imported.notes[1].endswith("bert.embeddings.position_ids, bert.pooler.dense.weight")
    assert all(torch.equal(imported.file.weights[name], tensor) for name, tensor in expected.items())


def test_words_in_another_order_are_put_in_ours(copy: Path) -> None:
    expected = read_folder(copy).file.weights
    words = (copy / "vocab.txt").read_text().splitlines()
    order = torch.randperm(len(words), generator=torch.Generator().manual_seed(1))
    (copy / "vocab.txt").write_text("\n".join(words[at] for at in order) + "\n")
    tensors = load_file(copy / "model.safetensors")
    for name in ("bert.embeddings.word_embeddings.weight", "cls.predictions.bias"):
        tensors[name] = tensors[name][order]
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    imported = read_folder(copy)
    assert imported.notes[-1].startswith("vocabulary: ")
    assert all(torch.equal(imported.file.weights[name], tensor) for name, tensor in expected.items())


def refused(folder: Path, says: str, error: type[Exception] = CheckpointError) -> None:
    with pytest.raises(error, match=says) as raised:
        read_folder(folder)
    assert str(raised.value).startswith(str(folder))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (
            {"hidden_act": "gelu_new"},
            "hidden_act='gelu_new', and this package computes hidden_act=gelu alone",
        ),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type='relative_key'"),
        ({"is_decoder": True}, "is_decoder=True"),
        ({"model_type": "roberta"}, "its model_type is 'roberta'"),
        ({"vocab_size": 4102}, "vocab_size=4102 and its vocabulary 4101 words"),
        ({"num_hidden_layers": 4}, r"lacks bert\.encoder\.layer\.3\."),
        ({"num_hidden_layers": 2}, r"has 'bert\.encoder\.layer\.2\.[^']*', which is no part"),
        ({"hidden_size": None}, "hidden_size=None"),
        ({"intermediate_size": 96}, r"as torch.float32 \[80"),
        ({"num_hidden_layers": 1.0}, r"has num_hidden_layers=1\.0, which is no whole number"),
        ({"hidden_dropout_prob": 2}, r"has hidden_dropout_prob=2, which is no number in 0\.\.0\.99"),
    ],
)
def test_a_config_that_ours_cannot_be_is_refused(copy: Path, changed: dict[str, Any], says: str) -> None:
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | changed))
    refused(copy, says)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["[PAD]"], "1 words, and no vocabulary"),
        (["hello", *Vocabulary(6).tokens[1:]], "line 1: 'hello' is no 6-mer"),
        ([*Vocabulary(6).tokens[:-1], "AAAAAA"], "line 4101: 'AAAAAA' is no 6-mer, or there twice"),
    ],
)
def test_a_vocabulary_of_other_words_is_refused(copy: Path, words: list[str], says: str) -> None:
    (copy / "vocab.txt").write_text("\n".join(words))
    refused(copy, says, FormatError)


def test_wider_numbers_are_narrowed(copy: Path, tmp_path: Path) -> None:
    expected = read_folder(copy).file.weights
    tensors = load_file(copy / "model.safetensors")
    wide = {name: tensor.double() for name, tensor in tensors.items()}
    save_file(wide, copy / "model.safetensors", metadata={"format": "pt"})
    imported = read_folder(copy)
    assert imported.notes[0] == "numbers: torch.float64 was turned into torch.float32"
    file = imported.file
    assert all(torch.equal(file.weights[name], tensor) for name, tensor in expected.items())
    nemo_file.write(tmp_path / "narrow.nemo", file.config, file.vocabulary, file.weights)
    assert nemo_file.read(tmp_path / "narrow.nemo").weights.keys() == expected.keys()


def test_a_folder_is_written_where_it_can_be(made, tmp_path: Path) -> None:
    file = nemo_file.read(made("pre_ln").with_suffix(".nemo"))
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there")
    write_folder(tmp_path / "link", file, "x")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "there" / "config.json").is_file()
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="file/folder: could not be written: not a directory"):
        write_folder(tmp_path / "file" / "folder", file, "x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link", "there"]


def test_weights_that_ours_cannot_be_are_refused(copy: Path) -> None:
    tensors = load_file(copy / "model.safetensors")
    bias = "cls.predictions.bias"

    def put(changed: dict[str, torch.Tensor]) -> None:
        save_file(tensors | changed, copy / "model.safetensors", metadata={"format": "pt"})

    put({"cls.predictions.decoder.weight": torch.zeros(4101, 48)})
    refused(copy, "untied models are not read")
    put({"bert.encoder.layer.0.adapter.weight": torch.zeros(2)})
    refused(copy, "'bert.encoder.layer.0.adapter.weight', which is no part of this model")
    put({"bert.embeddings.token_type_embeddings.weight": torch.zeros(0, 48)})
    refused(copy, r"token_type_embeddings.weight as torch.float32 \[0, 48\]")
    put({bias: torch.zeros(4101, dtype=torch.int64)})
    refused(copy, f"has {bias} as torch.int64")
    del tensors[bias]
    put({})
    refused(copy, f"lacks {bias}")
    (copy / "model.safetensors").write_bytes(b"no tensors at all")
    refused(copy, "model.safetensors is damaged")
    (copy / "model.safetensors").unlink()
    refused(copy, "holds no model.safetensors or pytorch_model.bin")
    torch.save({bias: torch.nn.Linear(2, 2)}, copy / "pytorch_model.bin")
    refused(copy, "pytorch_model.bin is damaged or not plain tensors .it asks for torch.nn")
    torch.save({bias: torch.zeros(4101).to_sparse()}, copy / "pytorch_model.bin")
    refused(copy, f"pytorch_model.bin has '{bias}' as no plain tensor")
    torch.save({bias: torch.zeros(1).expand(10**9)}, copy / "pytorch_model.bin")
    refused(copy, "pytorch_model.bin unfolds .* bytes into 1,000,000,000 numbers")
    (copy / "vocab.txt").unlink()
    refused(copy, "no such vocabulary file", FormatError)
    (copy / "config.json").unlink()
    refused(copy, "config.json is missing")
