"""Code that every stage uses: parameters, files and errors."""
