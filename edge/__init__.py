"""Ends client connections and fans streams out to them."""
