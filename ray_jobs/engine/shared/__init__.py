"""What several processes of an engine need."""
