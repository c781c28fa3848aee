"""From a photo to faces, in ten lines."""

import sys
from pathlib import Path

import edgeface

picture = sys.argv[1] if len(sys.argv) > 1 else Path(__file__).with_name("astronaut.jpg")

with edgeface.FaceAnalyzer() as analyzer:  # built-in students, best backend of this device, no network
    for face in analyzer.analyze(edgeface.read_image(picture)).faces:
        print(face.bbox, face.expression.label, face.expression.score)
        mouth = face.landmarks.points[48:68]  # float32 [20, 2], pixels of the photo
        print("the mouth is", mouth.max(axis=0) - mouth.min(axis=0), "pixels wide and high")
        hair = face.parsing.mask("hair")  # bool [h, w] over face.parsing.bbox
        print(f"hair covers {hair.mean():.0%} of the crop")
