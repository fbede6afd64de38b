"""Which encoders this machine has, found by opening them, and opening the best one.

libav lists NVENC on machines without a GPU, so being listed proves nothing.
"""

from functools import cache

from broker.protocol import Codec
from render_farm.encoder.interface import EncoderError, EncoderSettings, VideoEncoder
from render_farm.encoder.parameters import names_for
from render_farm.encoder.pyav_encoder import PyAvEncoder


def open_encoder(settings: EncoderSettings) -> VideoEncoder:
    """Open the best encoder for `settings.codec`; a GPU encoder that is out of sessions gives way to the CPU.

    Raises `EncoderError` naming the codec and why each encoder refused.
    """
    refusals = []
    for name in names_for(settings.codec):
        if not _opens(name, settings.codec):
            refusals.append(f"{name}: not available on this machine")
            continue
        try:
            return PyAvEncoder(settings, name)
        except EncoderError as error:
            refusals.append(str(error))
    raise EncoderError(f"no encoder for {settings.codec}: {'; '.join(refusals)}")


def available_encoders() -> dict[Codec, str]:
    """Return the name of the encoder that `open_encoder` tries first, for each codec that has one."""
    found = {}
    for codec in Codec:
        names = [name for name in names_for(codec) if _opens(name, codec)]
        if names:
            found[codec] = names[0]
    return found


@cache
def _opens(name: str, codec: Codec) -> bool:
    """Whether the encoder opens here; asked once a process."""
    try:
        PyAvEncoder(EncoderSettings(codec, 320, 192, 30, 500_000), name).close()
    except EncoderError:
        return False
    return True
