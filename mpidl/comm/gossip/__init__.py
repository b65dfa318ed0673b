"""Gossip between neighbours: who needs what of whom, how it travels, and what mixing makes of it."""
