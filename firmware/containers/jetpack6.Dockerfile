# syntax=docker/dockerfile:1
# EdgeFace for a Jetson Orin with JetPack 6 (Jetson Linux 36, CUDA 12.6, TensorRT 10.3), on its GPU. Built on the board:
#   docker build -f firmware/containers/jetpack6.Dockerfile --build-context runtime=FOLDER -t edgeface:jetpack6 .
# FOLDER holds the one file onnxruntime_gpu-*-cp310-*_aarch64.whl of the Jetson AI Lab index (../boards/jetson-orin.md):
# it is kept by you, because that index has been away for days. Neither built nor run by us: there was no board. The
# base is pinned by tag; whoever publishes an image pins it by digest, too.
FROM python:3.13.9-slim-trixie AS wheel
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY edgeface ./edgeface
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM nvcr.io/nvidia/l4t-jetpack:r36.4.0
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgomp1 python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv /opt/edgeface \
    && useradd --uid 10001 --user-group --groups video --no-create-home --shell /usr/sbin/nologin edgeface \
    && install -d -o 10001 -g 10001 /var/lib/edgeface /var/cache/edgeface
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    --mount=type=bind,from=runtime,target=/runtime \
    /opt/edgeface/bin/pip install --no-cache-dir "$(echo /wheels/edgeface-*.whl)[serve,store,update,mqtt]" \
        /runtime/onnxruntime_gpu-*.whl

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
