"""One interface for shared state, with memory and Redis behind it."""
