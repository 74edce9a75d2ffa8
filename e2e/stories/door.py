"""A door to a server elsewhere that a story can shut: a TCP proxy in a pod of its own.

It passes bytes on and understands none, so that whoever comes through still checks the server's
certificate.
"""

from __future__ import annotations

from dataclasses import dataclass

from e2e.stories.little_server import LittleServer

_CODE = """
import asyncio, sys
async def copy(source, sink):
    try:
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
    except OSError:
        pass
    finally:
        sink.close()
async def serve(reader, writer):
    there, back = await asyncio.open_connection(sys.argv[2], int(sys.argv[3]))
    await asyncio.gather(copy(reader, back), copy(there, writer))
async def main():
    server = await asyncio.start_server(serve, port=int(sys.argv[1]))
    await server.serve_forever()
asyncio.run(main())
"""


@dataclass(frozen=True, kw_only=True)
class Door(LittleServer):
    """A Service of a story's own that leads to a server elsewhere."""

    to_host: str
    to_port: int

    @property
    def program(self) -> str:
        return _CODE

    @property
    def arguments(self) -> list[str]:
        return [str(self.port), self.to_host, str(self.to_port)]
