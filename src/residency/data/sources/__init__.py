"""Published layouts, one file each: files as others lay them out in, lines of image, prompt and answer out."""
