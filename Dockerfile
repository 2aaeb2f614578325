# `latechunk index` on a CPU, as a user without rights:
#
#   docker build -t latechunk .
#   docker run --rm -v "$PWD/docs:/corpus:ro" -v "$PWD/state:/state" latechunk index /corpus \
#       --to qdrant:/state/store#chunks --checkpoint /state/checkpoint \
#       --model sentence-transformers/all-MiniLM-L6-v2
#
# The folder that is mounted at /state must belong to user 10001. The model is kept in /state/models.
# PyPI's torch brings the libraries of GPUs along, some gigabytes: where that is too much, name an
# index of builds for CPUs, --build-arg TORCH_INDEX=URL.

FROM python:3.12-slim AS build
ARG TORCH_INDEX=
WORKDIR /build
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY latechunk_integrations latechunk_integrations
COPY langchain_latechunk langchain_latechunk
COPY llamahub llamahub
RUN python -m venv /opt/latechunk \
    && /opt/latechunk/bin/pip install --no-cache-dir -c constraints.txt \
        ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch \
    && /opt/latechunk/bin/pip install --no-cache-dir -c constraints.txt \
        ".[local,bulk,documents,chroma,lancedb,milvus,pgvector,qdrant,servers,otel]"

FROM python:3.12-slim
RUN useradd --uid 10001 --create-home latechunk && mkdir /state && chown latechunk /state
COPY --from=build /opt/latechunk /opt/latechunk
ENV PATH=/opt/latechunk/bin:$PATH HF_HOME=/state/models PYTHONUNBUFFERED=1
USER latechunk
VOLUME /state
ENTRYPOINT ["latechunk"]
CMD ["--help"]
