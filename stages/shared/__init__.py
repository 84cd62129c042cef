"""Code that every stage uses: files, errors, names, and the index of images."""
