"""The NeMo models. Importing this lets NeMo's own `ModelPT.restore_from` open the .nemo files they write."""

from nemo.core.classes import common as _nemo_common

if "dnabert_nemo." not in getattr(_nemo_common, "ALLOWED_TARGET_PREFIXES", ["dnabert_nemo."]):
    _nemo_common.ALLOWED_TARGET_PREFIXES.append("dnabert_nemo.")

from dnabert_nemo.model.classification import DnabertClassifier
from dnabert_nemo.model.pretraining import DnabertModel
from dnabert_nemo.model.restore import restore

__all__ = ["DnabertClassifier", "DnabertModel", "restore"]
