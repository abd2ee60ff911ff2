"""Rules for the names of genes: which genes a study leaves out by their name alone, a file each."""
