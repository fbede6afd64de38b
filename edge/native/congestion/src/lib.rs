//! How much one viewer's network takes: transport-wide feedback in, a bitrate out; pure, time passed in.
