"""The clients: a browser SDK and its pages, and a headless Python viewer."""
