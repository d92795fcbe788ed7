"""Programs that show the library at work; each is a test as well."""
