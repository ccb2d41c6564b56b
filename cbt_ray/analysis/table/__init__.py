"""Tables: ratings from a CSV whose columns a mapping declares."""
