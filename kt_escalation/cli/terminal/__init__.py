"""How a terminal is written to and read from."""
