"""The scale: do its items hang together, have they room at their ends, are they told apart."""
