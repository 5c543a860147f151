"""Images in files: published data sets, folders, a cache of decoded images, addresses."""
