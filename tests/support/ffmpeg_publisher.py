"""FFmpeg as a publisher: `python -m tests.support.ffmpeg_publisher URL PICTURES`.

A process of its own, as PyAV holds the interpreter's lock while the muxer talks HTTP. It brings its certificate: with
GnuTLS the muxer would make one on a curve that WebRTC does not know (RFC 8827, section 6.5, asks for P-256).
"""

import datetime
import ssl
import sys
import tempfile
import time
from pathlib import Path

import av
from cryptography.hazmat.primitives import serialization

from edge.identity import make_identity
from tests.support.drawn import FPS, HEIGHT, WIDTH, video_frame


def publish(url: str, pictures: int) -> None:
    """Send so many numbered pictures in H.264, at their pace."""
    with tempfile.TemporaryDirectory() as folder, av.open(url, "w", format="whip", options=identity(folder)) as output:
        stream = output.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.profile = "Baseline"
        stream.options = {"tune": "zerolatency", "preset": "ultrafast", "g": "15", "bf": "0"}
        started = time.monotonic()
        for number in range(pictures):
            time.sleep(max(0.0, started + number / FPS - time.monotonic()))
            output.mux(stream.encode(video_frame(number)))


def identity(folder: str) -> dict[str, str]:
    """The muxer's options for a new P-256 certificate and its key, which are written to a folder."""
    certificate, private = make_identity(datetime.datetime.now(datetime.UTC))
    key = serialization.load_der_private_key(private, None)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    cert_file, key_file = Path(folder, "certificate.pem"), Path(folder, "key.pem")
    cert_file.write_text(ssl.DER_cert_to_PEM_cert(certificate))
    key_file.write_bytes(pem)
    return {"cert_file": str(cert_file), "key_file": str(key_file)}


if __name__ == "__main__":
    av.logging.set_level(av.logging.VERBOSE)
    publish(sys.argv[1], int(sys.argv[2]))
