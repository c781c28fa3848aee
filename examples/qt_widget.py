"""A Qt widget that shows a camera with its faces and tells the program who came and went.

pip install PySide6-Essentials
python examples/qt_widget.py [CAMERA]
"""

from __future__ import annotations

import argparse
import signal
import threading
from pathlib import Path

from PySide6.QtCore import QObject, Qt, QTimer, Signal
from PySide6.QtGui import QImage, QPainter, QPaintEvent
from PySide6.QtWidgets import QApplication, QLabel, QVBoxLayout, QWidget

import edgeface
from edgeface.render import draw_overlay


class Faces(QObject):
    """Follows the faces of a camera in a thread; its signals arrive in the thread of whoever is connected.

    A slow window gets the newest frame and none of those before it: the next is drawn when it has been shown.
    """

    shown = Signal(QImage, object)
    failed = Signal(str)

    def __init__(self, source: str) -> None:
        super().__init__()
        self._source, self._over, self._free = source, threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name="faces")

    def start(self) -> None:
        """Open the camera."""
        self._free.set()
        self._thread.start()

    def ready(self) -> None:
        """The last picture was shown; a new one may come."""
        self._free.set()

    def close(self) -> None:
        """Close the camera; returns when its thread has ended."""
        self._over.set()
        self._thread.join()

    def _work(self) -> None:
        try:
            with edgeface.open_camera(self._source, live=True) as camera, edgeface.FaceAnalyzer() as analyzer:
                tracker = edgeface.FaceTracker(analyzer)
                with edgeface.Stream(camera, tracker.update) as stream:
                    while not self._over.is_set() and not camera.ended:
                        moment = stream.next(timeout=0.2)
                        if moment is not None and self._free.is_set():
                            self._show(moment)
        except edgeface.EdgeFaceError as error:
            self.failed.emit(str(error))

    def _show(self, moment: edgeface.Moment[edgeface.TrackResult]) -> None:
        rgb = draw_overlay(moment.frame.rgb, moment.result.frame)
        height, width = rgb.shape[:2]
        # copy(): QImage does not keep the array alive.
        picture = QImage(rgb.data, width, height, rgb.strides[0], QImage.Format.Format_RGB888).copy()
        self._free.clear()
        self.shown.emit(picture, moment.result)


class FaceView(QWidget):
    """Shows the pictures, as large as they fit."""

    def __init__(self, faces: Faces) -> None:
        super().__init__()
        self.setMinimumSize(320, 240)
        self._faces, self._picture = faces, QImage()
        faces.shown.connect(self._take)

    def _take(self, picture: QImage, _result: object) -> None:
        self._picture = picture
        self.update()

    def paintEvent(self, _event: QPaintEvent) -> None:  # noqa: N802  Qt's name
        """Draw the newest picture."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), Qt.GlobalColor.black)
        if not self._picture.isNull():
            size = self._picture.size().scaled(self.size(), Qt.AspectRatioMode.KeepAspectRatio)
            area = self.rect()
            area.setSize(size)
            area.moveCenter(self.rect().center())
            painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
            painter.drawImage(area, self._picture)
        self._faces.ready()


class Window(QWidget):
    """The view above a line of text."""

    def __init__(self, faces: Faces) -> None:
        super().__init__()
        self.setWindowTitle("EdgeFace")
        self.resize(720, 580)
        self._line = QLabel("Nobody is here")
        layout = QVBoxLayout(self)
        layout.addWidget(FaceView(faces), 1)
        layout.addWidget(self._line)
        faces.shown.connect(self._tell)
        faces.failed.connect(self._line.setText)

    def _tell(self, _picture: QImage, result: edgeface.TrackResult) -> None:
        told = [
            f"face {track.id}: {track.expression}, {'looks here' if track.facing else 'looks away'}"
            for track in result.tracks
            if track.confirmed
        ]
        self._line.setText("   ".join(told) or "Nobody is here")
        for event in result.events:
            print(event.kind, event.id, flush=True)


def main() -> None:
    """Show the window until it is closed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("camera", nargs="?", default="0", help="synthetic:examples/astronaut.jpg needs none")
    parser.add_argument(
        "--picture", type=Path, metavar="PNG", help="save the window when a face appeared, and end"
    )
    options = parser.parse_args()
    application = QApplication([])
    signal.signal(signal.SIGINT, lambda *_: application.quit())
    awake = QTimer()  # Python sees a signal only when it runs
    awake.timeout.connect(lambda: None)
    awake.start(200)
    faces = Faces(options.camera)
    window = Window(faces)
    window.show()
    if options.picture is not None:

        def save(_picture: QImage, result: edgeface.TrackResult) -> None:
            if any(track.confirmed for track in result.tracks):
                window.grab().save(str(options.picture))
                application.quit()

        faces.shown.connect(save)
    faces.start()
    try:
        application.exec()
    finally:
        faces.close()


if __name__ == "__main__":
    main()
