"""From a graph to a program: fixed shapes, instructions, prefetching, the arena, addresses; and reverse mode."""
