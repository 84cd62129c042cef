"""prepare-dataset: from a folder or archive of images to packed pixels, labels and a manifest."""
