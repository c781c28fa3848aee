# syntax=docker/dockerfile:1
# EdgeFace for a Jetson with JetPack 7 (Jetson Linux 38 and 39), whose containers are NVIDIA's usual arm64 ones:
#   docker build -f firmware/containers/jetpack7.Dockerfile -t edgeface:jetpack7 .
# CUDA alone: no public onnxruntime for it has TensorRT (../boards/jetson-orin.md). onnxruntime-gpu 1.31.1 asks for
# CUDA 13 and cuDNN 9 in its own metadata. Neither built nor run by us: there was no board. The base is pinned by tag;
# whoever publishes an image pins it by digest, too.
FROM python:3.13.9-slim-trixie AS wheel
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY edgeface ./edgeface
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM nvcr.io/nvidia/cuda:13.0.0-cudnn-runtime-ubuntu24.04
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgomp1 python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv /opt/edgeface \
    && useradd --uid 10001 --user-group --groups video --no-create-home --shell /usr/sbin/nologin edgeface \
    && install -d -o 10001 -g 10001 /var/lib/edgeface /var/cache/edgeface
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    /opt/edgeface/bin/pip install --no-cache-dir "$(echo /wheels/edgeface-*.whl)[serve,store,update,mqtt]" \
        onnxruntime-gpu==1.31.1

ENV PATH=/opt/edgeface/bin:$PATH PYTHONDONTWRITEBYTECODE=1 \
    EDGEFACE_STORE=/var/lib/edgeface/store EDGEFACE_CACHE=/var/cache/edgeface
# Without a group, so that the camera's stays.
USER 10001
VOLUME ["/var/lib/edgeface", "/var/cache/edgeface"]
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=5s --start-period=3m --retries=3 \
    CMD ["python3", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/healthz', timeout=4)"]
ENTRYPOINT ["edgeface"]
CMD ["serve", "--host", "0.0.0.0", "--bundle", "store"]
