"""Records to files to commits: layout, YAML, snapshots, archives, caches and locks."""
