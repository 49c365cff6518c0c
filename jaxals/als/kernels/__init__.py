"""The inner loops: reading rows of a table, adding up their outer products, solving many small systems."""
