"""What travels over HTTP, without HTTP: routes, records, problems and streams, for the server and every client."""
