"""The test report: one HTML file, and a summary of it in Markdown."""
