"""The only package that starts git. It knows no records."""
