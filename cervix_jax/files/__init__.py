"""Reading of images and tables, and atomic writing of files."""
