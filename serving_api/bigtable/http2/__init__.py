"""A client of Bigtable's ReadRows: gRPC over HTTP/2 on asyncio. README.md describes it."""
