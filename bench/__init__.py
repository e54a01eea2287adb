"""What kt costs, measured against what git and Python cost (docs/performance.md); not part of the package."""
