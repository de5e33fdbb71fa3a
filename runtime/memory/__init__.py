"""What outlives a run: packed weights, variables that training changes, the arena's bytes."""
