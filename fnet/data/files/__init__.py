"""Images in files: published data sets, folders, URLs, and a cache of decoded images."""
