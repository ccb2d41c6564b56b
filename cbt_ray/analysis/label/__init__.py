"""Labels that replies name in a list, against those that the generator named of the same case."""
