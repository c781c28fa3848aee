"""Live: what a followed frame costs beside MediaPipe's video mode, and how old a frame is when it is seen.

The parts: `clips` makes the films, `tracked` shows them to both sides, `watched` runs the service with a
browser before it, `result` writes what came out.
"""
