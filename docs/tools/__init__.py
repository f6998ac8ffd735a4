"""What is generated in the documentation: figures, and the pages whose facts live in the code."""
