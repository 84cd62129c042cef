"""HTML pages in one file each, for a stage that shows its results: their look, words and pictures."""
