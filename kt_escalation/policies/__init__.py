"""The files in policies/ as values: packs, routing, roster, settings, waivers, and their faults."""
