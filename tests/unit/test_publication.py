"""A publisher's encodings become layers in the order of their sizes, however it names them."""

import pytest

from broker.protocol import Codec
from edge.engine import PublishedPicture
from edge.publication import Publication

HEADER = b"\x10\0\0\x9d\x01\x2a"


def vp8(encoding: int, width: int, *, keyframe: bool = True) -> PublishedPicture:
    payload = HEADER + width.to_bytes(2, "little") + (width // 2).to_bytes(2, "little")
    return PublishedPicture(payload, keyframe, encoding, 1, 1_000)


def test_single_encoding_is_the_only_layer():
    publication = Publication(Codec.VP8, 1)
    assert not publication.note(vp8(0, 1280))
    assert publication.frame(vp8(0, 1280)).layer == 0
    assert publication.description("v1").layers == []


@pytest.mark.parametrize("widths", [(320, 640, 1280), (1280, 640, 320)])
def test_largest_encoding_becomes_the_highest_layer(widths):
    publication = Publication(Codec.VP8, 3)
    for encoding, width in enumerate(widths):
        publication.note(vp8(encoding, width))
    layers = {width: publication.frame(vp8(encoding, width)).layer for encoding, width in enumerate(widths)}
    assert layers == {320: 0, 640: 1, 1280: 2}
    assert [publication.layer(publication.layer(encoding)) for encoding in range(3)] == [0, 1, 2]


def test_order_that_turns_out_to_be_the_other_is_told_once():
    publication = Publication(Codec.VP8, 2)
    assert not publication.note(vp8(0, 1280))
    assert publication.note(vp8(1, 640))
    assert not publication.note(vp8(1, 640))


def test_pictures_without_a_size_say_nothing_of_the_order():
    publication = Publication(Codec.VP8, 2)
    publication.note(vp8(0, 1280))
    assert not publication.note(vp8(1, 640, keyframe=False))
    assert not publication.note(PublishedPicture(b"", True, 1, 1, 1))
    assert publication.frame(vp8(0, 1280)).layer == 0


def test_layers_are_described_from_the_lowest():
    bitrates = [layer.max_bitrate_bps for layer in Publication(Codec.VP8, 3).description("v1").layers]
    assert bitrates == sorted(bitrates)
    assert len(Publication(Codec.VP8, 2).description("v1").layers) == 2


def test_report_tells_what_came_since_the_last():
    publication = Publication(Codec.VP8, 2)
    for keyframe in (True, False, False):
        publication.note(vp8(0, 1280, keyframe=keyframe))
    publication.note(vp8(1, 640))
    report = publication.report("cam", elapsed_s=2.0)
    assert (report.session, report.width, report.height, report.frames_per_s) == ("cam", 1280, 640, 1.5)
    assert report.received_bps == 4 * 10 * 8 / 2
    assert publication.report("cam", 1.0).received_bps == 0


def test_report_follows_a_publisher_that_changes_its_size():
    publication = Publication(Codec.VP8, 1)
    for width in (1280, 640):
        publication.note(vp8(0, width))
        assert publication.report("cam", 1.0).width == width


def test_report_is_of_the_best_encoding_that_comes():
    publication = Publication(Codec.VP8, 2)
    for encoding, width in enumerate((640, 1280)):
        publication.note(vp8(encoding, width))
    publication.report("cam", 1.0)
    publication.note(vp8(0, 640))
    assert publication.report("cam", 1.0).width == 640
