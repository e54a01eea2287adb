"""The commands of kt. Each module has one family of commands."""
