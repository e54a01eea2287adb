"""Where records live: git, the lock, the YAML, the names of files and the words of commits."""
