# syntax=docker/dockerfile:1
# The node as an image. GPU by default; --build-arg EXTRA=cpu or EXTRA=openvino for the other builds of ONNX Runtime.

FROM python:3.12-slim-bookworm AS build
ARG EXTRA=gpu
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/sbnode/venv
ENV PATH=/opt/sbnode/venv/bin:$PATH
COPY requirements/ /opt/sbnode/requirements/
RUN pip install --require-hashes --requirement "/opt/sbnode/requirements/${EXTRA}.txt"
WORKDIR /opt/sbnode
COPY pyproject.toml README.md LICENSE ./
COPY sbnode/ sbnode/
RUN pip install --no-deps --no-build-isolation --editable . \
    && python -m compileall -q sbnode

FROM python:3.12-slim-bookworm
LABEL org.opencontainers.image.title="sbnode" \
      org.opencontainers.image.description="DICOM node that returns the bone of the skull base. Research use; not a medical device." \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/sbnode/ /opt/sbnode/
COPY models/ /opt/sbnode/models/
COPY config.yaml /etc/sbnode/config.yaml
# The spool is the only place that is written to, so the root file system may be read-only. Relative paths of the
# configuration are taken from its folder: the links lead them to the volume and to the models of the image.
RUN install -d -o 10001 -g 10001 -m 0750 /var/spool/sbnode \
    && ln -s /var/spool/sbnode /etc/sbnode/spool \
    && ln -s /opt/sbnode/models /etc/sbnode/models
ENV PATH=/opt/sbnode/venv/bin:$PATH \
    HOME=/tmp \
    TMPDIR=/tmp \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /var/spool/sbnode
VOLUME ["/var/spool/sbnode"]
EXPOSE 11112 9464
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:9464/healthz', timeout=4)"]
ENTRYPOINT ["sbnode"]
CMD ["serve", "--config", "/etc/sbnode/config.yaml"]
