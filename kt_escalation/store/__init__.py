"""The storage of records: git, the lock, YAML, file names and commit messages."""
