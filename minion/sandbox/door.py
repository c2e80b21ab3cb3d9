"""The door in a sandbox's wall: hands what connects to a port inside on to the socket of the runner's proxy.

Started in the sandbox as a job of the tool host, standard library only: `door.py SOCKET PORT`. It decides
nothing; whoever goes round it to the socket meets the same proxy.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys

CHUNK = 64 * 1024


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Hand on until the end, and the end too; raises `OSError` when an end is gone."""
    while part := await reader.read(CHUNK):
        writer.write(part)
        await writer.drain()
    writer.write_eof()


async def hand_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, socket: str) -> None:
    """Join one connection with one of its own to the proxy."""
    ends = [writer]
    try:
        with contextlib.suppress(OSError):
            far_reader, far_writer = await asyncio.open_unix_connection(socket)
            ends.append(far_writer)
            async with asyncio.TaskGroup() as both:
                both.create_task(copy(reader, far_writer))
                both.create_task(copy(far_reader, writer))
    except ExceptionGroup as failures:
        _, others = failures.split(OSError)
        if others is not None:
            raise others from None
    finally:
        for end in ends:
            end.close()


async def main(socket: str, port: int) -> None:
    """Listen at a port of the sandbox's own loopback until killed, and say so once it is open."""

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(hand_on(reader, writer, socket))
        open_tasks.add(task)
        task.add_done_callback(open_tasks.discard)

    open_tasks: set[asyncio.Task[None]] = set()
    server = await asyncio.start_server(accept, "127.0.0.1", port, backlog=128)
    print("open", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
