"""The only package that starts git. It knows nothing of records."""
