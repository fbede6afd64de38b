//! Sockets and threads of the engine: batched UDP with segmentation offload, TCP framing, shards.
