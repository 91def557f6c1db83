"""Exports and imports that cannot be: told in one line, before NeMo is imported and a file is touched."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from dnabert_nemo.command import _quoted
from dnabert_nemo.errors import ConfigError
from dnabert_nemo.training.check_export import check_export, check_import


def export(tmp_path: Path, **changed: object) -> None:
    (tmp_path / "model.nemo").touch()
    given = {"checkpoint": str(tmp_path / "model.nemo"), "output": str(tmp_path / "out.nemo")}
    check_export(OmegaConf.create(given | {"format": "nemo", "overwrite": False} | changed))


def test_what_can_be_exported_passes(tmp_path: Path) -> None:
    export(tmp_path)
    export(tmp_path, output=str(tmp_path / "folder"), format="huggingface")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "config.json").touch()
    export(tmp_path, output=str(tmp_path / "folder"), format="huggingface", overwrite=True)
    (tmp_path / "out.nemo").touch()
    export(tmp_path, overwrite=True)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"format": "onnx"}, "format=onnx is not known: choose nemo or huggingface"),
        ({"checkpoint": "absent.ckpt"}, r"checkpoint=absent\.ckpt: no such file"),
        ({"output": "model.pt"}, r"output=model\.pt: give a name that ends in \.nemo"),
        ({"output": "{}/model.nemo"}, "is there already: give another, or overwrite=true"),
        (
            {"output": "{}", "format": "huggingface", "overwrite": True},
            "holds other things than a HuggingFace model",
        ),
        ({"output": "{}/model.nemo", "format": "huggingface", "overwrite": True}, "is a file: give another"),
        ({"output": "{}/dir.nemo", "overwrite": True}, "is a folder: give another"),
        (
            {"output": "{}/kept", "format": "huggingface", "overwrite": True},
            r"HuggingFace model, notes\.md: give",
        ),
        ({"checkpoint": None}, "checkpoint=None: give a path"),
        ({"checkpoint": 5}, "checkpoint=5: give a path"),
        ({"output": ""}, "output=: give a path"),
        ({"overwrite": "maybe"}, "overwrite=maybe: give true or false"),
    ],
)
def test_what_cannot_be_exported_is_refused(tmp_path: Path, changed: dict[str, object], says: str) -> None:
    (tmp_path / "dir.nemo").mkdir()
    (tmp_path / "kept").mkdir()
    for name in ("config.json", "notes.md"):
        (tmp_path / "kept" / name).touch()
    output = str(changed.get("output", tmp_path / "out.nemo")).format(tmp_path)
    with pytest.raises(ConfigError, match=says):
        export(tmp_path, **(changed | {"output": output}))


def test_what_cannot_be_imported_is_refused(tmp_path: Path) -> None:
    given = {"input": str(tmp_path), "output": "x.nemo", "overwrite": False}
    check_import(OmegaConf.create(given))
    with pytest.raises(ConfigError, match="input=absent: no such folder"):
        check_import(OmegaConf.create(given | {"input": "absent"}))


def test_a_path_with_an_equals_sign_reaches_hydra() -> None:
    parser = OverridesParser.create()
    for path in ("runs/a/checkpoints/step=6.ckpt", "/a/val_loss=4.17-step=6.ckpt"):
        override = parser.parse_override(_quoted(f"checkpoint={path}"))
        assert (override.key_or_group, override.value()) == ("checkpoint", path)
    for as_it_is in ("a=b", "a=[b,c]", "--config-dir=a=b", "+a=1", "a={b: c}", "a='b=c'", "a="):
        assert _quoted(as_it_is) == as_it_is
