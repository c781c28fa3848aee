"""A camera on the network: a server of RTSP (RFC 2326) that sends Motion JPEG (RFC 2435) to who plays."""

from __future__ import annotations

import socket
import socketserver
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["RtspCamera", "rtsp_camera"]

_CLOCK = 90_000  # ticks per second of a JPEG stream's time stamps
_PAYLOAD = 1300  # bytes of a picture in a packet
_JPEG, _YUV420, _TABLES_FOLLOW = 26, 1, 255
_SDP = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nt=0 0\r\nm=video 0 RTP/AVP 26\r\na=control:picture\r\n"


class RtspCamera(socketserver.ThreadingTCPServer):
    """Sends picture after picture, each RGB by its number, to whoever plays; while `silent` none."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, picture: Callable[[int], NDArray[np.uint8]], rate: float) -> None:
        super().__init__(("127.0.0.1", 0), _Viewer)
        self.picture, self.rate = picture, rate
        self.silent = self.ended = False

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @property
    def address(self) -> str:
        return f"rtsp://kiosk:secret@127.0.0.1:{self.port}/live"


class _Viewer(socketserver.StreamRequestHandler):
    server: RtspCamera

    def handle(self) -> None:
        with suppress(OSError):  # who looks on may leave at any moment
            while self._answered():
                pass

    def _answered(self) -> bool:
        """Whether there is more to say after the next request."""
        method, *lines = self._request()
        numbers = [line.partition(":")[2].strip() for line in lines if line.lower().startswith("cseq")]
        if not numbers:
            return False
        head = [f"RTSP/1.0 200 OK\r\nCSeq: {numbers[0]}"]
        body = ""
        if method == "OPTIONS":
            head.append("Public: DESCRIBE, SETUP, PLAY, TEARDOWN")
        elif method == "DESCRIBE":
            body = _SDP
            head += ["Content-Type: application/sdp", f"Content-Length: {len(body)}"]
        else:
            head += ["Session: 1", "Transport: RTP/AVP/TCP;unicast;interleaved=0-1"]
        self.wfile.write("\r\n".join([*head, "", body]).encode())
        if method == "PLAY":
            self._play()
        return method not in ("PLAY", "TEARDOWN")

    def _request(self) -> list[str]:
        """The method, and the lines after it."""
        lines = []
        while line := self.rfile.readline().decode().rstrip("\r\n"):
            lines.append(line)
        return [lines[0].partition(" ")[0], *lines[1:]] if lines else [""]

    def _play(self) -> None:
        packets, camera = count(), self.server
        for number in count():
            if camera.ended:
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            if not camera.silent:
                stamp = round(number / camera.rate * _CLOCK)
                for last, payload in _payloads(camera.picture(number)):
                    kind = _JPEG | (0x80 if last else 0)
                    packet = struct.pack("!BBHII", 0x80, kind, next(packets) & 0xFFFF, stamp, 7) + payload
                    self.wfile.write(struct.pack("!cBH", b"$", 0, len(packet)) + packet)
            time.sleep(1 / camera.rate)


def _payloads(rgb: NDArray[np.uint8]) -> Iterator[tuple[bool, bytes]]:
    """A picture in pieces, and which is the last: the sides and the tables, then the scan alone."""
    whole = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))[1].tobytes()
    tables, at = b"", 2
    while whole[at + 1] != 0xDA:  # start of the scan
        (length,) = struct.unpack_from("!H", whole, at + 2)
        if whole[at + 1] == 0xDB:
            tables += whole[at + 5 : at + 2 + length]
        at += 2 + length
    (length,) = struct.unpack_from("!H", whole, at + 2)
    scan = whole[at + 2 + length : -2]
    for begin in range(0, len(scan), _PAYLOAD):
        head = struct.pack("!I", begin) + bytes(
            (_YUV420, _TABLES_FOLLOW, rgb.shape[1] // 8, rgb.shape[0] // 8)
        )
        if begin == 0:
            head += struct.pack("!BBH", 0, 0, len(tables)) + tables
        yield begin + _PAYLOAD >= len(scan), head + scan[begin : begin + _PAYLOAD]


@contextmanager
def rtsp_camera(picture: Callable[[int], NDArray[np.uint8]], rate: float = 30.0) -> Iterator[RtspCamera]:
    """A camera that runs until the end of the block; its viewers are cut off then."""
    with RtspCamera(picture, rate) as camera:
        threading.Thread(target=camera.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        try:
            yield camera
        finally:
            camera.ended = True
            camera.shutdown()
