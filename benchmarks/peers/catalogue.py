"""The peers: what is started for each, and what its user must bring.

One entry here and one small script in `benchmarks/sides` make a peer.
"""

from __future__ import annotations

from benchmarks.environments import MEDIAPIPE, NodeEnvironment, PythonEnvironment
from benchmarks.peers.peer import Brought, Ours, Peer, Variant

__all__ = ["OURS", "PEERS"]

_OPENCV = "opencv-python-headless==4.12.0.88"
_ORT = "onnxruntime==1.23.2"
# What uniface and InsightFace need, with the OpenCV that wants no display.
_SCIENCE = (_ORT, _OPENCV, "numpy>=2,<2.3", "scipy", "scikit-image", "requests", "tqdm")
_TFJS = ("@tensorflow/tfjs@4.22.0", "@tensorflow/tfjs-backend-wasm@4.22.0")

_STUDENT_ONNX = Brought(
    "student-fp32",
    ("landmarks.fp32.onnx",),
    "`python -m quantization convert landmarks` writes it (the workshop, and its data)",
)
_STUDENT_INT8 = Brought(
    "student-u8s8",
    ("landmarks.int8-u8s8.onnx",),
    "`python -m quantization convert landmarks` writes it (the workshop, and its data)",
)
_OWN = "as our students'"

OURS = "edgeface"

PEERS: tuple[Peer, ...] = (
    Peer(
        OURS,
        "edgeface_side.py",
        Ours(),
        (
            Variant("edgeface_boxes", "EdgeFace: boxes", "boxes", _OWN),
            Variant("edgeface_landmarks", "EdgeFace: 68 points", "points", _OWN),
            Variant("edgeface_all", "EdgeFace: points, parsing, expression", "all", _OWN),
            Variant("edgeface_expression", "EdgeFace: expression of a given face", "expression", _OWN),
        ),
    ),
    Peer(
        "mediapipe",
        "mediapipe_side.py",
        MEDIAPIPE,
        (
            Variant("mediapipe_static", "MediaPipe 0.10.14 FaceMesh, static", "points", "Apache-2.0"),
            Variant(
                "mediapipe_video",
                "MediaPipe 0.10.14 FaceMesh, video (tracks)",
                "points",
                "Apache-2.0",
                accuracy_of="mediapipe_static",
            ),
        ),
    ),
    Peer(
        "mediapipe1",
        "mediapipe_tasks_side.py",
        PythonEnvironment("mediapipe-1.2.2", ("mediapipe==1.2.2", "numpy>=2")),
        (
            Variant("mediapipe1_image", "MediaPipe 1.2 FaceLandmarker, image", "points", "Apache-2.0"),
            Variant(
                "mediapipe1_video",
                "MediaPipe 1.2 FaceLandmarker, video (tracks)",
                "points",
                "Apache-2.0",
                accuracy_of="mediapipe1_image",
            ),
        ),
        (
            Brought(
                "mediapipe-task",
                ("face_landmarker.task", "mediapipe_face_landmarker.task"),
                "face_landmarker.task, from MediaPipe's page of the Face Landmarker; its wheel has no models",
            ),
        ),
    ),
    Peer(
        "yunet",
        "yunet_side.py",
        PythonEnvironment("yunet", (_OPENCV, "numpy>=2,<2.3")),
        (Variant("yunet", "OpenCV YuNet", "boxes", "MIT or Apache-2.0"),),
        (
            Brought(
                "yunet",
                ("face_detection_yunet_2023mar.onnx", "yunet_n_640_640.onnx"),
                "face_detection_yunet_2023mar.onnx of the OpenCV zoo, or libfacedetection's yunet_n_640_640",
            ),
        ),
    ),
    Peer(
        "ultraface",
        "ultraface_side.py",
        PythonEnvironment("ultraface", (_ORT, _OPENCV, "numpy>=2,<2.3")),
        (Variant("ultraface", "UltraFace RFB-320, onnxruntime", "boxes", "MIT"),),
        (
            Brought(
                "ultraface",
                ("version-RFB-320.onnx", "ultralight_version-RFB-320.onnx"),
                "version-RFB-320.onnx, from Ultra-Light-Fast-Generic-Face-Detector-1MB",
            ),
        ),
    ),
    Peer(
        "dlib",
        "dlib_side.py",
        PythonEnvironment("dlib-20", ("dlib-bin==20.0.1.post1", "numpy>=2")),
        (Variant("dlib_hog", "dlib 20 HOG detector", "boxes", "Boost"),),
    ),
    Peer(
        "dlib68",
        "dlib_side.py",
        PythonEnvironment("dlib-20", ("dlib-bin==20.0.1.post1", "numpy>=2")),
        (Variant("dlib_68", "dlib 20 HOG + 68 points", "points", "300-W, non-commercial"),),
        (
            Brought(
                "dlib68",
                ("shape_predictor_68_face_landmarks.dat",),
                "shape_predictor_68_face_landmarks.dat (99.7 MB), from dlib's model page",
            ),
        ),
    ),
    Peer(
        "human",
        "human_side.cjs",
        NodeEnvironment("human-3.3.6", ("@vladmandic/human@3.3.6", *_TFJS)),
        (
            Variant("human_points", "human 3.3.6, WASM: mesh", "points", "MIT"),
            Variant("human_all", "human 3.3.6, WASM: mesh, emotion", "all", "MIT"),
        ),
    ),
    Peer(
        "faceapi",
        "faceapi_side.cjs",
        NodeEnvironment("faceapi-1.7.15", ("@vladmandic/face-api@1.7.15", *_TFJS)),
        (
            Variant("faceapi_points", "face-api 1.7.15, WASM: 68 points", "points", "MIT"),
            Variant("faceapi_all", "face-api 1.7.15, WASM: points, expression", "all", "MIT"),
        ),
    ),
    Peer(
        "openseeface",
        "openseeface_side.py",
        PythonEnvironment("openseeface", (_ORT, _OPENCV, "numpy<2", "pillow")),
        (Variant("openseeface", "OpenSeeFace, model 0, detector every frame", "points", "BSD-2"),),
        (Brought("openseeface", ("OpenSeeFace",), "a clone of emilianavt/OpenSeeFace, called OpenSeeFace"),),
    ),
    Peer(
        "uniface",
        "uniface_side.py",
        PythonEnvironment("uniface-4.2.1", _SCIENCE, alone=("uniface==4.2.1",)),
        (
            Variant("uniface_boxes", "uniface 4.2 SCRFD 500M", "boxes", "non-commercial"),
            Variant("uniface_points", "uniface 4.2 SCRFD + PIPNet 68", "points", "non-commercial"),
        ),
        (
            Brought(
                "uniface",
                ("uniface",),
                "a folder called uniface with scrfd_500m.onnx and pipnet_r18_300w_celeba_68.onnx, as "
                "uniface.download_models leaves them",
            ),
        ),
    ),
    Peer(
        "insightface",
        "insightface_side.py",
        PythonEnvironment("insightface-2.1", (*_SCIENCE, "onnx"), alone=("insightface==2.1",)),
        (
            Variant("insightface_boxes", "InsightFace 2.1 detection", "boxes", "non-commercial"),
            Variant("insightface_points", "InsightFace 2.1 detection + 106", "points", "non-commercial"),
        ),
        (
            Brought(
                "insightface",
                ("buffalo_s", "buffalo_sc", "buffalo_l"),
                "the folder of a model pack with its .onnx files (buffalo_s), under insightface's terms",
            ),
        ),
    ),
    Peer(
        "emotiefflib",
        "emotiefflib_side.py",
        PythonEnvironment(
            "emotiefflib-1.1.1",
            (_ORT, _OPENCV, "numpy>=2,<2.3", "onnx", "pillow"),
            alone=("emotiefflib==1.1.1",),
        ),
        (
            Variant(
                "emotiefflib",
                "EmotiEffLib 1.1, ONNX: expression of a given face",
                "expression",
                "Apache-2.0; taught by AffectNet, non-commercial",
            ),
        ),
        (
            Brought(
                "emotiefflib",
                (
                    "enet_b0_8_best_vgaf.onnx",
                    "enet_b0_8_best_afew.onnx",
                    "enet_b0_8_va_mtl.onnx",
                    "mobilevit_va_mtl.onnx",
                    "mbf_va_mtl.onnx",
                    "enet_b2_8.onnx",
                    "enet_b2_7.onnx",
                ),
                "one of EmotiEffLib's networks, such as enet_b0_8_best_vgaf.onnx, from "
                "models/affectnet_emotions/onnx of its repository",
            ),
        ),
    ),
    Peer(
        "litert",
        "network_side.py",
        Ours(),
        (Variant("litert_tflite", "our landmark network: LiteRT, int8", "network", _OWN),),
        runtime="ai-edge-litert",
    ),
    Peer(
        "openvino",
        "network_side.py",
        PythonEnvironment("openvino", ("openvino==2025.3.0", "numpy<2.3")),
        (Variant("openvino_tflite", "our landmark network: OpenVINO, int8", "network", _OWN),),
        runtime="openvino",
    ),
    Peer(
        "onnxruntime",
        "network_side.py",
        PythonEnvironment("onnxruntime", (_ORT, "numpy<2.3")),
        (
            Variant("onnxruntime_u8s8", "our landmark network: onnxruntime, int8", "network", _OWN),
            Variant("onnxruntime_fp32", "our landmark network: onnxruntime, float", "network", _OWN),
        ),
        (_STUDENT_INT8, _STUDENT_ONNX),
        runtime="onnxruntime",
    ),
    Peer(
        "ncnn",
        "network_side.py",
        PythonEnvironment("ncnn", ("ncnn==1.0.20261020", "numpy<2.3"), alone=("pnnx==20261020",)),
        (Variant("ncnn_fp32", "our landmark network: ncnn, float", "network", _OWN),),
        (_STUDENT_ONNX,),
        runtime="ncnn",
    ),
)
"""All that have an adapter."""
