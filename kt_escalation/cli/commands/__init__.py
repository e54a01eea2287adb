"""The commands of kt, a family in each module."""
