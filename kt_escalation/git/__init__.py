"""The git that everything runs on: the only room that starts git. It knows no records."""
