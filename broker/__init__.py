"""The brain: rooms, joins, placement and the fleet. Imports nothing of the other roles."""
