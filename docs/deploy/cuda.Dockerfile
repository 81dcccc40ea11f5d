# geoseg on GPUs: the wheels of torch bring CUDA, the host its driver. From the root of a checkout:
#   docker build -f docs/deploy/cuda.Dockerfile -t geoseg:cuda .
#   docker run --gpus all geoseg:cuda run ... --device cuda
FROM python:3.13-slim-trixie AS build
WORKDIR /source
RUN python -m venv /opt/geoseg
COPY pyproject.toml README.md LICENSE ./
COPY geoseg geoseg
COPY catalogs catalogs
COPY workflows workflows
RUN /opt/geoseg/bin/pip install --no-cache-dir ".[metrics,s3]"

FROM python:3.13-slim-trixie
COPY --from=build /opt/geoseg /opt/geoseg
RUN useradd --create-home --uid 1000 geoseg
ENV PATH=/opt/geoseg/bin:$PATH
# What a container with NVIDIA's runtime may use of the driver.
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 1000
WORKDIR /home/geoseg
ENTRYPOINT ["geoseg"]
CMD ["--help"]
