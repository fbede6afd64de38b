//! The media wire formats: RTP, RTCP, packetisers and SRTP; pure, no I/O, no clock.
