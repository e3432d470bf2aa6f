"""What a run is: a specification, its id, its stages, its record, and the store of records."""
