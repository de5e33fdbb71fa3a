"""Batch, layer, group, instance, root-mean-square and p-norm normalisation."""
