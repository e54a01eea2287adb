"""Templates, script and style of the desk."""
