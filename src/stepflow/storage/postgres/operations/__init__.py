"""Operations: plain functions that take a link to the server, one file a noun."""
