"""The files below policies/ as values: packs, routing, roster, settings, waivers, and their faults."""
