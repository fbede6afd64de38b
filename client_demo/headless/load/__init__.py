"""The load generator: WebRTC viewers by the thousand, in native code, driven from here."""
