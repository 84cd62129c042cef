"""What a file says of itself: one module for each image format, looked at before anything is decoded."""
