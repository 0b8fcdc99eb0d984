# The image of the service. Both containers of a task run it: `python -m zedi.realtime` (the default) and
# `python -m zedi.notes`. Made by `zedi image build`, which adds the labels that change; docs/image.md.
# The minor version is the one that the locks are made for and the tests run on.
ARG PYTHON=3.11.15-slim-trixie

# On the machine's own architecture, whatever the image's is: nothing is emulated.
FROM --platform=$BUILDPLATFORM python:${PYTHON} AS build
ARG TARGETARCH
WORKDIR /build
COPY requirements-service.lock ./
COPY src/zedi/image/layout.py src/zedi/image/
RUN python src/zedi/image/layout.py packages image/packages "$TARGETARCH"
COPY src/zedi src/zedi
RUN python src/zedi/image/layout.py service image/service

FROM python:${PYTHON}
LABEL org.opencontainers.image.title="Zedi" \
      org.opencontainers.image.description="The realtime service and the HTTP API of a collaborative notebook" \
      org.opencontainers.image.licenses="MIT"
# Two layers: the packages are pushed once and stay, our own code is small.
COPY --from=build /build/image/packages /
COPY --from=build /build/image/service /
# Everything is compiled already and nothing can be written. What lies in the current folder or in somebody's
# home is not imported.
ENV PYTHONPATH=/opt/zedi \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONSAFEPATH=1 \
    PYTHONNOUSERSITE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /opt/zedi
USER 65534:65534
EXPOSE 1234 8080
# As the task definition has it, which ECS looks at instead. There is no curl.
HEALTHCHECK --interval=10s --timeout=5s --retries=3 --start-period=60s \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ.get(\"PORT\", 1234)}/health', timeout=4)"]
CMD ["python", "-m", "zedi.realtime"]
