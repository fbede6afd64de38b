//! One stream to many viewers: sessions, ICE, streams, recovery, adaptation; sans-IO, time passed in.
