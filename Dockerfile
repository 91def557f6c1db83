# dnabert_nemo on NVIDIA's PyTorch image, whose own torch, Transformer Engine, apex and NCCL are kept as they are.
#
#   docker build -t dnabert_nemo .
#   docker run --rm --gpus all --ipc=host --user "$(id -u):$(id -g)" -v "$PWD:/data" dnabert_nemo \
#       python /opt/dnabert_nemo/examples/pretrain.py --config-name dnabert_86m \
#       model.data.train=shards/train model.data.validation=shards/validation
#
# The default image has Python 3.12, torch 2.8 and CUDA 12.9.
ARG NGC_TAG=25.06-py3
FROM nvcr.io/nvidia/pytorch:${NGC_TAG}

LABEL org.opencontainers.image.title="dnabert_nemo" \
      org.opencontainers.image.description="DNABERT as a NeMo model on megatron-core" \
      org.opencontainers.image.licenses="Apache-2.0"

SHELL ["/bin/bash", "-o", "pipefail", "-c"]

WORKDIR /opt/dnabert_nemo
COPY . .

# The image holds every package it was built with at its version, among them some that are too old for megatron-core
# and NeMo. Only what was compiled together is held here; the build fails if that changed all the same.
ARG KEPT="^(torch|torchvision|triton|pytorch[-_]triton|transformer[-_]engine|apex|flash[-_]attn|numpy)=="
RUN pip list --format=freeze | grep -iE "$KEPT" > /etc/pip/kept.txt \
 && PIP_CONSTRAINT=/etc/pip/kept.txt pip install --no-cache-dir --editable . \
 && pip list --format=freeze | grep -iE "$KEPT" | diff /etc/pip/kept.txt -

# Any user may run it: /data is where commands read and write, and caches go to a home of everyone's.
RUN mkdir --mode=1777 /data /home/anyone
ENV HOME=/home/anyone
WORKDIR /data
USER 1000:1000
