"""The HTTP and WebSocket rim of the broker."""
