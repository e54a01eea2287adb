"""Rules as pure functions over frozen values: no disk, no clock, no network, no git, no YAML."""
