"""Images as people keep them: folders, archives, files; from bytes to pixels. For prepare and predict."""
