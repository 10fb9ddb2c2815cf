# The data plane: Ray, vLLM and the jobs. Two targets from the two locks that `make setup` installs:
#
#     docker build -f docker/ray.Dockerfile --target cpu -t assay/ray:0.1.0-cpu .
#     docker build -f docker/ray.Dockerfile --target gpu -t assay/ray:0.1.0-gpu .
#
# All pods of one Ray cluster run one target: the driver pickles vLLM's configuration for its workers.

# Where a team's mirror goes. CUDA comes with vLLM's wheels, so the GPU target needs no CUDA base, only the host's driver.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS builder
# uv and pip read these from the environment; a mirror's password goes into the netrc secret, never into a build arg,
# which stays readable in the image's history: docker build --secret id=netrc,src=$HOME/.netrc ...
ARG PIP_INDEX_URL
ARG UV_DEFAULT_INDEX
ARG UV_FIND_LINKS
ENV UV_LINK_MODE=copy \
    UV_COMPILE_BYTECODE=1 \
    UV_PYTHON_DOWNLOADS=never
COPY requirements/uv.txt /build/uv.txt
RUN --mount=type=secret,id=netrc,target=/root/.netrc \
    python3 -m venv /uv && /uv/bin/pip install --no-cache-dir --requirement /build/uv.txt \
    && python3 -m venv --without-pip /opt/venv

FROM builder AS builder-cpu
# Said again: not every builder hands a stage's arguments on to the stages made from it.
ARG UV_DEFAULT_INDEX
ARG UV_FIND_LINKS
# `cpu` takes torch and torchvision from PyTorch's CPU index. Empty, with UV_FIND_LINKS or a mirror that has the +cpu
# builds, leaves PyTorch's index alone.
ARG TORCH_BACKEND=cpu
COPY requirements/data-cpu.txt /build/data-cpu.txt
RUN --mount=type=cache,target=/root/.cache/uv \
    --mount=type=secret,id=netrc,target=/root/.netrc \
    /uv/bin/uv pip install --python /opt/venv/bin/python --no-deps --verify-hashes \
        ${TORCH_BACKEND:+--torch-backend "$TORCH_BACKEND"} --requirement /build/data-cpu.txt
# Without PyTorch's index torchvision is PyPI's CUDA build, which does not import beside a CPU torch; the file mends it.
COPY dev/torchvision_cpu.py /build/torchvision_cpu.py
RUN /opt/venv/bin/python -c "import torchvision" 2>/dev/null \
    || { cp /build/torchvision_cpu.py /opt/venv/lib/python3.11/site-packages/assay_torchvision_cpu.py \
         && echo "import assay_torchvision_cpu" > /opt/venv/lib/python3.11/site-packages/assay_torchvision_cpu.pth \
         && /opt/venv/bin/python -c "import torchvision"; }

FROM builder AS builder-gpu
ARG UV_DEFAULT_INDEX
ARG UV_FIND_LINKS
# `auto` would ask the building machine for its GPU, which has none: the lock names the CUDA build.
COPY requirements/data-gpu.txt /build/data-gpu.txt
RUN --mount=type=cache,target=/root/.cache/uv \
    --mount=type=secret,id=netrc,target=/root/.netrc \
    /uv/bin/uv pip install --python /opt/venv/bin/python --no-deps --require-hashes \
        --requirement /build/data-gpu.txt

FROM ${PYTHON_IMAGE} AS runtime
LABEL org.opencontainers.image.licenses="Apache-2.0 AND LicenseRef-see-opt-assay-NOTICE"
# gcc, g++: torch.compile and Triton build kernels when the engine starts. libnuma1: linked by vLLM's CPU build.
# wget: KubeRay's probes call it. tini reaps what dead workers leave behind. Debian drops old versions from its
# archive, so pinned ones would break the build within weeks; the base image's tag is the pin.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends tini ca-certificates wget gcc g++ libc6-dev libnuma1 libgomp1 \
    && rm -rf /var/lib/apt/lists/*
# Made here, so that a volume mounted on the cache belongs to the user too.
RUN useradd --uid 1000 --create-home --home-dir /home/assay assay \
    && install --directory --owner assay --group assay /home/assay/.cache
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/opt/assay \
    PYTHONUNBUFFERED=1 \
    RAY_USAGE_STATS_ENABLED=0 \
    VLLM_NO_USAGE_STATS=1
WORKDIR /opt/assay
USER 1000
EXPOSE 6379 8265
# The raylet's own agent answers on head and worker alike, and without the token.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=6 \
    CMD ["wget", "--tries=1", "--timeout=4", "--quiet", "--output-document=-", "http://127.0.0.1:52365/api/local_raylet_healthz"]
ENTRYPOINT ["tini", "--"]
CMD ["ray", "--version"]

FROM runtime AS gpu
LABEL org.opencontainers.image.title="Assay data plane (GPU)" \
      org.opencontainers.image.description="Ray, Ray Data and vLLM with the jobs that caption and score"
COPY --from=builder-gpu /opt/venv /opt/venv
# After the packages: a change of our code is then a small layer, and not 10 GB to push and pull again.
COPY LICENSE NOTICE docs/reference/licences.md /opt/assay/
COPY docker/assay /usr/local/bin/assay
COPY ray_jobs /opt/assay/ray_jobs
COPY dags/suites /opt/assay/dags/suites
# What the NVIDIA container runtime is to make visible: compute, and nvidia-smi for a person who looks.
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
# All that is compiled when an engine starts, beside vLLM's own in that folder: for a volume.
ENV TRITON_CACHE_DIR=/home/assay/.cache/triton \
    TORCHINDUCTOR_CACHE_DIR=/home/assay/.cache/torchinductor

# Last, so that a build without --target needs no 10 GB of CUDA.
FROM runtime AS cpu
LABEL org.opencontainers.image.title="Assay data plane (CPU)" \
      org.opencontainers.image.description="Ray, Ray Data and vLLM's CPU build with the jobs that caption and score"
COPY --from=builder-cpu /opt/venv /opt/venv
# After the packages: a change of our code is then a small layer, and not 10 GB to push and pull again.
COPY LICENSE NOTICE docs/reference/licences.md /opt/assay/
COPY docker/assay /usr/local/bin/assay
COPY ray_jobs /opt/assay/ray_jobs
COPY dags/suites /opt/assay/dags/suites
