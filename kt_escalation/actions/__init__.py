"""Whatever commits: the commit loop, and what the commands do with a store."""
