"""Files that try to do harm when a model is opened, made from good ones: prints what is said of each.

    python tests/model/malicious_files.py

The tests take the same files and see that nothing happened besides.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import pickle
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

TEN_GB = 10 * 10**9
Members = dict[str, bytes]
CONFIG, WORDS, WEIGHTS = "./model_config.yaml", "./vocab.txt", "./model_weights.ckpt"


class Malicious:
    """Makes a folder when it is unpickled."""

    def __init__(self, evidence: Path) -> None:
        self.evidence = evidence

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.evidence),)


@dataclass(frozen=True)
class Attack:
    """A way to harm who opens a model: makes a file from a good one, which is to be refused with `says`."""

    name: str
    make: Callable[[Path, Path, Path], None]  # from a good file, to a bad one, which would make the evidence
    says: str
    of_checkpoint: bool = False  # of a checkpoint to resume from, not a .nemo file


def members(path: Path) -> Members:
    with tarfile.open(path, "r:") as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}


def write(path: Path, content: Members, *more: tuple[tarfile.TarInfo, bytes]) -> None:
    with tarfile.open(path, "w:") as tar:
        for name, value in content.items():
            tar.addfile(sized(tarfile.TarInfo(name), len(value)), io.BytesIO(value))
        for info, value in more:
            tar.addfile(info, io.BytesIO(value))


def sized(info: tarfile.TarInfo, size: int) -> tarfile.TarInfo:
    info.size = size
    return info


def saved(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def pickled_weights(good: Path, bad: Path, evidence: Path) -> None:
    content = members(good)
    weights = torch.load(io.BytesIO(content[WEIGHTS]), weights_only=True)
    first = next(iter(weights))
    write(bad, content | {WEIGHTS: saved(weights | {first: Malicious(evidence)})})


def with_config(**changed: Any) -> Callable[[Path, Path, Path], None]:
    """Make a file whose config differs; what is called in the change gets the evidence."""

    def make(good: Path, bad: Path, evidence: Path) -> None:
        content = members(good)
        config = yaml.safe_load(content[CONFIG])
        config |= {key: value(evidence) if callable(value) else value for key, value in changed.items()}
        write(bad, content | {CONFIG: yaml.safe_dump(config).encode()})

    return make


def named(name: Callable[[Path], str]) -> Callable[[Path, Path, Path], None]:
    """Make a file with one more member, of this name."""

    def make(good: Path, bad: Path, evidence: Path) -> None:
        write(bad, members(good), (sized(tarfile.TarInfo(name(evidence)), 2), b"hi"))

    return make


def linked(kind: bytes) -> Callable[[Path, Path, Path], None]:
    """Make a file whose weights are a link, by which a second member of that name writes elsewhere."""

    def make(good: Path, bad: Path, evidence: Path) -> None:
        content = members(good)
        link = tarfile.TarInfo(WEIGHTS)
        link.type, link.linkname = kind, str(evidence)
        through = sized(tarfile.TarInfo(WEIGHTS), len(content[WEIGHTS])), content[WEIGHTS]
        write(bad, {name: content[name] for name in (CONFIG, WORDS)}, (link, b""), through)

    return make


def gnu_sparse(good: Path, bad: Path, evidence: Path) -> None:
    """A member of a few bytes that unfolds to ten gigabytes of zeros."""
    content = members(good)
    info = tarfile.TarInfo(WEIGHTS)
    info.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[386:482] = bytes(96)  # where the pieces are: one byte at 0, and the end
    header[386:398], header[398:410] = b"00000000000\0", b"00000000001\0"
    header[483:495] = TEN_GB.to_bytes(12, "big")
    header[483] |= 0x80
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    write(bad, {name: content[name] for name in (CONFIG, WORDS)})
    whole = bad.read_bytes()
    at = 512 * (2 + sum(-(-len(content[name]) // 512) for name in (CONFIG, WORDS)))
    bad.write_bytes(whole[:at] + bytes(header) + bytes(1024))


def pax_sparse(good: Path, bad: Path, evidence: Path) -> None:
    content = members(good)
    info = sized(tarfile.TarInfo(WEIGHTS), 512)
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(TEN_GB)}
    write(bad, {name: content[name] for name in (CONFIG, WORDS)}, (info, b"1\n0\n1\n".ljust(512, b"\0")))


def declared(on_disk: bool) -> Callable[[Path, Path, Path], None]:
    """Make a file whose header says that its weights are ten gigabytes; on disk it is a hole."""

    def make(good: Path, bad: Path, evidence: Path) -> None:
        content = members(good)
        write(bad, {name: content[name] for name in (CONFIG, WORDS)})
        at = 512 * (2 + sum(-(-len(content[name]) // 512) for name in (CONFIG, WORDS)))
        header = sized(tarfile.TarInfo(WEIGHTS), TEN_GB).tobuf(tarfile.GNU_FORMAT)
        with bad.open("r+b") as file:
            file.truncate(at)
            file.seek(at)
            file.write(header)
            file.truncate(at + 512 + (TEN_GB if on_disk else 512))

    return make


def packed_weights(good: Path, bad: Path, evidence: Path) -> None:
    """Weights whose archive is packed: zeros without end in a few bytes."""
    content = members(good)
    weights = torch.load(io.BytesIO(content[WEIGHTS]), weights_only=True)
    plain = saved({name: torch.zeros(10 * tensor.numel()) for name, tensor in weights.items()})
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(plain)) as whole,
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as small,
    ):
        for name in whole.namelist():
            small.writestr(name, whole.read(name))
        small.writestr("archive/padding", os.urandom(len(content[WEIGHTS]) - buffer.tell() - 20_000))
    write(bad, content | {WEIGHTS: buffer.getvalue()})


def twice(good: Path, bad: Path, evidence: Path) -> None:
    content = members(good)
    write(bad, content, (sized(tarfile.TarInfo("model_config.yaml"), 12), b"{target: os}"))


def renamed_by_header(good: Path, bad: Path, evidence: Path) -> None:
    """A member whose extended header gives it another name than it seems to have."""
    content = members(good)
    info = sized(tarfile.TarInfo(WEIGHTS), len(content[WEIGHTS]))
    info.pax_headers = {"path": str(evidence)}
    write(bad, {name: content[name] for name in (CONFIG, WORDS)}, (info, content[WEIGHTS]))


def pickled(name: str, wrap: Callable[[Malicious], Any]) -> Callable[[Path, Path, Path], None]:
    """Make a checkpoint with another file of this name, its checksum put right."""

    def make(good: Path, bad: Path, evidence: Path) -> None:
        shutil.copytree(good, bad)
        content = wrap(Malicious(evidence))
        (bad / name).write_bytes(saved(content) if name == "common.pt" else pickle.dumps(content))
        digest = hashlib.sha256((bad / name).read_bytes()).hexdigest()
        manifest = json.loads((bad / "manifest.json").read_bytes())
        manifest["files"][name] = {"size": (bad / name).stat().st_size, "sha256": digest}
        (bad / "manifest.json").write_text(json.dumps(manifest))

    return make


def _makes(evidence: Path) -> dict[str, Any]:
    return {"_target_": "os.mkdir", "_args_": [str(evidence)]}


ATTACKS = (
    Attack("a pickle among the weights", pickled_weights, "damaged or not plain tensors"),
    Attack(
        "a target outside the package", with_config(target="os.mkdir"), "target='os.mkdir', which is no model"
    ),
    Attack("_target_ at the top", with_config(_target_="os.mkdir"), "has a key _target_"),
    Attack("_target_ within", with_config(deep=lambda e: {"er": _makes(e)}), "has a key _target_"),
    Attack("_target_ in a list", with_config(many=lambda e: [1, [_makes(e)]]), "has a key _target_"),
    Attack("a nested target", with_config(part={"target": "os.mkdir"}), "has a key target"),
    Attack("an interpolation", with_config(seed="${oc.env:HOME}"), "has an interpolation"),
    Attack(
        "a vocabulary from elsewhere",
        with_config(tokenizer={"k": 3, "vocab_file": "nemo:../../etc/passwd"}),
        "takes its vocabulary from",
    ),
    Attack("../ in a name", named(lambda e: f"./../{e.name}"), "leads out of the folder"),
    Attack("an absolute name", named(str), "has an absolute name"),
    Attack("another file", named(lambda e: "./sitecustomize.py"), "is none that a .nemo file"),
    Attack("a symbolic link", linked(tarfile.SYMTYPE), "is a symbolic link to"),
    Attack("a hard link", linked(tarfile.LNKTYPE), "is a hard link to"),
    Attack("10 GB in a sparse member", gnu_sparse, "sparse file"),
    Attack("10 GB in a sparse member of PAX", pax_sparse, "sparse file"),
    Attack("10 GB on the disk", declared(on_disk=True), "has 10,000,000,000 bytes"),
    Attack("10 GB that are not there", declared(on_disk=False), "more than the file"),
    Attack("packed weights", packed_weights, "packed into"),
    Attack("a member twice", twice, "is there twice"),
    Attack("a name in an extended header", renamed_by_header, "sets 'path' of a member"),
    Attack(
        "a pickle as metadata of a checkpoint",
        pickled(".metadata", lambda it: it),
        "asks for posix.mkdir",
        of_checkpoint=True,
    ),
    Attack(
        "a pickle as progress of a checkpoint",
        pickled("common.pt", lambda it: {"progress": it}),
        "asks for posix.mkdir",
        of_checkpoint=True,
    ),
)


def _print_messages() -> None:
    from omegaconf import OmegaConf

    from dnabert_nemo.errors import CheckpointError
    from dnabert_nemo.megatron import checkpoint
    from dnabert_nemo.megatron.engine import data_parallel
    from dnabert_nemo.megatron.optimizer import MegatronAdamW, OptimizerSettings
    from dnabert_nemo.megatron.sizes import ParallelSizes
    from dnabert_nemo.model import DnabertModel
    from dnabert_nemo.model.export import read_model

    sizes = {"num_layers": 1, "hidden_size": 32, "ffn_hidden_size": 64, "num_attention_heads": 2}
    config = {"tokenizer": {"k": 3, "vocab_file": None}, "max_position_embeddings": 64, **sizes}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = DnabertModel(OmegaConf.create(config))
        model.build(ParallelSizes(), "fp32")
        model.save_to(str(folder / "good.nemo"))
        ddp = data_parallel(model.bert, distributed_optimizer=False)
        optimizer = MegatronAdamW(ddp, OptimizerSettings())
        checkpoint.save(folder / "good.ckpt", model.bert, optimizer, {"model_config": model.file_config()})
        for number, attack in enumerate(ATTACKS):
            kind = "ckpt" if attack.of_checkpoint else "nemo"
            bad, evidence = folder / f"bad{number}.{kind}", folder / "evidence"
            attack.make(folder / f"good.{kind}", bad, evidence)
            try:
                read_model(bad)
                said = "OPENED"
            except CheckpointError as error:
                said = str(error).replace(f"{folder}/", "")
            print(f"{attack.name}: {said}{' AND RUN' if evidence.exists() else ''}\n")


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    _print_messages()
