# geoseg on CPUs. From the root of a checkout:
#   docker build -f docs/deploy/cpu.Dockerfile -t geoseg:cpu .
FROM python:3.13-slim-trixie AS build
WORKDIR /source
# The CPU wheels of torch first, a third of the size of those with CUDA.
RUN python -m venv /opt/geoseg \
    && /opt/geoseg/bin/pip install --no-cache-dir torch torchvision --index-url https://download.pytorch.org/whl/cpu
COPY pyproject.toml README.md LICENSE ./
COPY geoseg geoseg
COPY catalogs catalogs
COPY workflows workflows
RUN /opt/geoseg/bin/pip install --no-cache-dir ".[metrics,s3]"

FROM python:3.13-slim-trixie
COPY --from=build /opt/geoseg /opt/geoseg
RUN useradd --create-home --uid 1000 geoseg
ENV PATH=/opt/geoseg/bin:$PATH
USER 1000
WORKDIR /home/geoseg
ENTRYPOINT ["geoseg"]
CMD ["--help"]
