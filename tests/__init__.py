from beartype import BeartypeConf, beartype

# The run-time type checker of the suite. An int serves where a float is asked for, as everywhere in Python.
check_types = beartype(conf=BeartypeConf(is_pep484_tower=True))
