"""The live state of a room: who is where, and what they see."""
