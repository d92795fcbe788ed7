"""degrade: keeps a service answering while a part of it is failing."""
