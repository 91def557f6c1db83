"""Models as `transformers` keeps them, a folder of safetensors, config and tokenizer: written and read here.

Needs `safetensors` and not `transformers`: pre-LN models are its MegatronBertForMaskedLM, post-LN models, the
original DNABERT's among them, its BertForMaskedLM.
"""

from dnabert_nemo.model.huggingface.read import read_folder
from dnabert_nemo.model.huggingface.write import write_folder

__all__ = ["read_folder", "write_folder"]
