"""The JSON interface, version 1: what programs read. ``specialists.api`` adds what they steer."""
