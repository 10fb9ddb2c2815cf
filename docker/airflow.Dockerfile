# The control plane: Airflow, the DAGs and the plugin. One image, every Airflow component is a command of it.
#
#     docker build -f docker/airflow.Dockerfile -t assay/airflow:0.1.0 .

# Where a team's mirror goes. Debian's python3 will do as well: only python3.11 with venv is asked of the base.
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
    python3 -m venv /uv && /uv/bin/pip install --no-cache-dir --requirement /build/uv.txt
COPY requirements/control.txt /build/control.txt
RUN --mount=type=cache,target=/root/.cache/uv \
    --mount=type=secret,id=netrc,target=/root/.netrc \
    python3 -m venv --without-pip /opt/venv \
    && /uv/bin/uv pip install --python /opt/venv/bin/python --no-deps --require-hashes \
        --requirement /build/control.txt \
    && /uv/bin/uv pip check --python /opt/venv/bin/python

FROM ${PYTHON_IMAGE} AS airflow
LABEL org.opencontainers.image.title="Assay control plane" \
      org.opencontainers.image.description="Airflow with the DAGs and the plugin that validate checkpoints" \
      org.opencontainers.image.licenses="Apache-2.0 AND LicenseRef-see-opt-assay-NOTICE"
# tini reaps what dead tasks leave behind: Airflow as process 1 does not. Debian drops old versions from its archive,
# so a pinned one would break the build within weeks; the base image's tag is the pin.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends tini ca-certificates \
    && rm -rf /var/lib/apt/lists/*
# 50000 and group 0 are what Airflow's official chart runs pods as.
RUN useradd --uid 50000 --gid 0 --create-home --home-dir /opt/airflow airflow \
    && mkdir -p /opt/airflow/logs /opt/airflow/auth && chown -R airflow:0 /opt/airflow && chmod -R g=u /opt/airflow
COPY --from=builder /opt/venv /opt/venv
COPY LICENSE NOTICE docs/reference/licences.md /opt/assay/
COPY docker/assay /usr/local/bin/assay
COPY ray_jobs /opt/assay/ray_jobs
COPY plugins /opt/assay/plugins
COPY dags /opt/assay/dags
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/opt/assay \
    PYTHONUNBUFFERED=1 \
    AIRFLOW_HOME=/opt/airflow \
    AIRFLOW__CORE__DAGS_FOLDER=/opt/assay/dags \
    AIRFLOW__CORE__PLUGINS_FOLDER=/opt/assay/plugins \
    AIRFLOW__CORE__LOAD_EXAMPLES=False \
    AIRFLOW__USAGE_DATA_COLLECTION__ENABLED=False
WORKDIR /opt/airflow
USER 50000:0
# No HEALTHCHECK here: what is healthy differs by component, so compose.yaml and the chart say it for each.
ENTRYPOINT ["tini", "--"]
CMD ["airflow", "version"]
