"""Files as users have them, and as this package leaves them: images, tables, whole writes."""
