"""Code that every stage uses: files, errors, and the images of a source."""
