# The service as an image, for a CPU or an NVIDIA GPU; docs/image.md says how it is built and run.
#
#     docker build --target cpu --build-arg TORCH_INDEX_URL=... --tag showcause:0.1.0 .
#     docker build --target cuda --tag showcause:0.1.0-cuda .
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS source
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY deploy/image/install.sh deploy/image/
COPY handlers handlers
COPY model_store model_store
COPY showcause showcause

# The secret is pip's configuration, where packages come from a mirror that asks for a password.
FROM source AS build-cpu
ARG TORCH_INDEX_URL=""
RUN --mount=type=cache,target=/root/.cache/pip --mount=type=secret,id=pip,target=/etc/pip.conf \
    deploy/image/install.sh cpu /source /opt/showcause

FROM source AS build-cuda
ARG TORCH_INDEX_URL=""
RUN --mount=type=cache,target=/root/.cache/pip --mount=type=secret,id=pip,target=/etc/pip.conf \
    deploy/image/install.sh cuda /source /opt/showcause

FROM ${PYTHON_IMAGE} AS runtime
# The base ships Python's own library uncompiled; on a read-only tree every process would compile it anew.
RUN python3 -m compileall -q -f -j 0 --invalidation-mode unchecked-hash \
    "$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" -x '/(lib2to3/tests|test|site-packages)/'
ENV PATH=/opt/showcause/bin:$PATH \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    SHOWCAUSE_HOST=0.0.0.0 \
    SHOWCAUSE_HEALTH_PORT=50053 \
    SHOWCAUSE_LOG_FORMAT=json
WORKDIR /tmp
# A number, so that Kubernetes can see that it is not root. Nothing is written but in /tmp.
USER 10001:10001
# gRPC, REST, metrics, health for probes; the admin RPC (50052) stays on loopback.
EXPOSE 50051 8080 9464 50053
# In plain text whatever the other ports speak.
HEALTHCHECK --interval=15s --timeout=10s --start-period=120s --retries=3 \
    CMD ["showcause", "health", "--address", "127.0.0.1:50053"]
ENTRYPOINT ["showcause"]
CMD ["serve"]
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Showcause" \
      org.opencontainers.image.description="Model serving that shows cause: a prediction and the reason for it" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

FROM runtime AS cuda
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=build-cuda /opt/showcause /opt/showcause

FROM runtime AS cpu
COPY --from=build-cpu /opt/showcause /opt/showcause
