# One image for every service of docker-compose.yml; the service says which command runs.
#
#   docker build -t bn-ml .
#
# The base is named by its exact tag. To pin it by digest, resolve the tag once and pass the answer on, as the release
# workflow does:
#
#   docker buildx imagetools inspect python:3.11-slim-bookworm --format '{{.Manifest.Digest}}'
#   docker build --build-arg PYTHON_IMAGE=docker.io/library/python:3.11-slim-bookworm@sha256:... -t bn-ml .
ARG PYTHON_IMAGE=docker.io/library/python:3.11-slim-bookworm
ARG CLOUDFLARED_IMAGE=docker.io/cloudflare/cloudflared:2026.3.0

# ---- build: the environment, from the lock alone ---------------------------------------------------------------------
FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
RUN python -m venv /opt/venv && python -m venv /opt/builder
COPY requirements.txt requirements-dev.txt ./
RUN /opt/venv/bin/python -m pip install --quiet --only-binary :all: --require-hashes -r requirements.txt
# The build backend is locked with the developers' tools; only its own entry is taken from there.
RUN awk '/^setuptools==/ {taken = 1} taken {print} taken && !/\\$/ {exit}' requirements-dev.txt > backend.txt \
    && /opt/builder/bin/python -m pip install --quiet --only-binary :all: --require-hashes -r backend.txt
COPY pyproject.toml README.md ./
COPY bn_ml bn_ml
COPY data_manager data_manager
COPY ml_engine ml_engine
COPY scanner scanner
COPY trader trader
COPY monitoring monitoring
COPY public_api public_api
COPY evidence evidence
COPY scripts scripts
RUN /opt/builder/bin/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /opt/venv/bin/python -m pip install --quiet --no-deps /wheels/*.whl \
    && /opt/venv/bin/python -m pip uninstall --quiet --yes pip
# The address that `streamlit run` is told, whatever the version of Python in the folder's name.
RUN mkdir -p /app/artifacts /app/models \
    && ln -s "$(ls -d /opt/venv/lib/python3*/site-packages)/monitoring" /app/monitoring

# ---- tunnel: cloudflared beside a shell that can tell whether it is wanted (docker build --target tunnel) ------------
FROM ${CLOUDFLARED_IMAGE} AS cloudflared
FROM ${PYTHON_IMAGE} AS tunnel
COPY --from=cloudflared /usr/local/bin/cloudflared /usr/local/bin/cloudflared
USER 10001:10001
ENTRYPOINT ["cloudflared"]

# ---- runtime ---------------------------------------------------------------------------------------------------------
FROM ${PYTHON_IMAGE} AS runtime
# LightGBM needs the OpenMP runtime; tini reaps what a killed child leaves behind.
RUN dpkg -s libgomp1 tini >/dev/null 2>&1 \
    || { apt-get update && apt-get install --yes --no-install-recommends libgomp1 tini && rm -rf /var/lib/apt/lists/*; }
RUN groupadd --gid 10001 bnml && useradd --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin bnml
COPY --from=build /opt/venv /opt/venv
COPY --from=build --chown=10001:10001 /app /app
COPY configs /app/configs
ENV PATH=/opt/venv/bin:$PATH \
    HOME=/tmp \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    OMP_NUM_THREADS=1 \
    OMP_WAIT_POLICY=PASSIVE \
    STREAMLIT_BROWSER_GATHER_USAGE_STATS=false \
    BNML_FALLBACK_LOGS_DIR=/tmp/logs
WORKDIR /app
VOLUME ["/app/artifacts", "/app/models"]
USER 10001:10001
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-m", "scripts.container_health", "bot"]
ENTRYPOINT ["tini", "--"]
CMD ["bnml-bot", "--paper", "--no-dashboard", "--disable-retrain"]
