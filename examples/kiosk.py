"""An attract screen: a pair of eyes that follows whoever passes, and a greeting when somebody comes close.

    python examples/kiosk.py [CAMERA] [--window]       Escape closes it

It draws with tkinter, which Python brings along (Debian: apt-get install python3-tk). No picture of anybody
is shown or kept.
"""

from __future__ import annotations

import argparse
import threading
import tkinter
from dataclasses import dataclass

import edgeface

# Height of a face over that of the frame: above the one somebody has come close, below the other he leaves.
NEAR, FAR = 0.25, 0.20
NIGHT, PAPER, ACCENT = "#101828", "#f4f6fb", "#f7b32b"


@dataclass(frozen=True)
class Visitor:
    """The nearest face: its middle, -1 to 1 from left and top, and its height over the frame's."""

    x: float
    y: float
    size: float


def nearest(result: edgeface.TrackResult) -> Visitor | None:
    """Who stands in front; flickers (tracks that are not confirmed) are nobody."""
    tracks = [track for track in result.tracks if track.confirmed]
    if not tracks:
        return None
    box, frame = tracks[0].face.bbox, result.frame  # the largest comes first
    x, y = box.center
    # Mirrored: whoever walks to his left sees the eyes look to that side.
    return Visitor(1 - 2 * x / frame.width, 2 * y / frame.height - 1, box.height / frame.height)


def mood(before: str, visitor: Visitor | None) -> str:
    """What the screen does: "alone", "curious" while somebody is far, "greeting" when he is near."""
    if visitor is None:
        return "alone"
    return "greeting" if visitor.size > (FAR if before == "greeting" else NEAR) else "curious"


class Screen:
    """The window. Belongs to the main thread; `seen` may be set from another."""

    def __init__(self, window: tkinter.Tk) -> None:
        self.window, self.seen, self.mood = window, None, "alone"
        self._look = [0.0, 0.0]
        self._canvas = tkinter.Canvas(window, background=NIGHT, highlightthickness=0)
        self._canvas.pack(fill="both", expand=True)
        window.bind("<Escape>", lambda _event: window.destroy())
        self.draw()

    def draw(self) -> None:
        """Draw what is seen now, thirty times a second."""
        visitor, canvas = self.seen, self._canvas
        new = mood(self.mood, visitor)
        if new != self.mood:
            self.mood = new
            print(new, flush=True)  # here a kiosk would wake its menu
        goal = (visitor.x, visitor.y) if visitor else (0.0, 0.0)
        self._look = [old + 0.25 * (to - old) for old, to in zip(self._look, goal, strict=True)]
        width, height = max(2, canvas.winfo_width()), max(2, canvas.winfo_height())
        radius = min(width / 5, height / 4)
        canvas.delete("all")
        for side in (-1, 1):
            self._eye(width / 2 + side * 1.15 * radius, height * 0.4, radius)
        words = {
            "alone": "Come closer",
            "curious": "A little closer ...",
            "greeting": "Hello!  Touch to begin",
        }
        colour = ACCENT if new == "greeting" else PAPER
        font = ("DejaVu Sans", -round(height / 11), "bold")
        canvas.create_text(width / 2, height * 0.84, text=words[new], fill=colour, font=font)
        self.window.after(33, self.draw)

    def _eye(self, x: float, y: float, radius: float) -> None:
        tall = radius * {"alone": 0.35, "curious": 0.8, "greeting": 1.0}[self.mood]
        pupil = min(0.45 * radius, 0.6 * tall)
        px, py = x + 0.5 * radius * self._look[0], y + 0.5 * (tall - pupil) * self._look[1]
        self._canvas.create_oval(x - radius, y - tall, x + radius, y + tall, fill=PAPER, width=0)
        self._canvas.create_oval(px - pupil, py - pupil, px + pupil, py + pupil, fill=NIGHT, width=0)


def main() -> None:
    """Run the camera beside the window."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("camera", nargs="?", default="0", help="synthetic:examples/astronaut.jpg needs none")
    parser.add_argument("--window", action="store_true", help="do not fill the screen")
    options = parser.parse_args()
    window = tkinter.Tk(className="kiosk")
    window.geometry("800x480")
    window.attributes("-fullscreen", not options.window)
    screen = Screen(window)
    # The landmarks make tracks steady; a greeting needs neither a parsing map nor an expression.
    with (
        edgeface.FaceAnalyzer(["landmarks"]) as analyzer,
        edgeface.open_camera(options.camera, live=True) as camera,
    ):
        tracker = edgeface.FaceTracker(analyzer)
        with edgeface.Stream(camera, tracker.update) as stream:

            def follow() -> None:
                for moment in stream:
                    screen.seen = nearest(moment.result)

            thread = threading.Thread(target=follow, name="faces")
            thread.start()
            window.mainloop()
        thread.join()


if __name__ == "__main__":
    main()
