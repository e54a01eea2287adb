"""The desk: pages in the browser of the reviewer's own machine, over the same use cases as the commands."""
