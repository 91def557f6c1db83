"""DNABERT on NeMo and megatron-core: genome, k-mer shards, pre-trained model, splice-site report."""

import logging
import warnings

__version__ = "0.1.0"

# What the libraries say of themselves at every start is no news of a run; most say it when they are imported.
for _message in (
    r"(Transformer Engine and )?Apex (is|are) not installed",  # nothing here needs them
    r"full scope is deprecated",  # megatron-core, of its own default
    r"The \.grad attribute of a Tensor that is not a leaf",  # megatron-core looks for one
    r".*sync_dist=True",  # what is logged is summed over the ranks already
):
    warnings.filterwarnings("ignore", message=_message)
logging.getLogger("nv_one_logger").setLevel(logging.ERROR)  # telemetry that NeMo starts and that goes nowhere
